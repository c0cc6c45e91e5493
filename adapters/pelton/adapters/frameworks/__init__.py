"""Agents that people have: each framework's adapter, behind one contract (`contract`)."""
