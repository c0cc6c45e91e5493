"""Our own API under `/v1`, beside A2A."""
