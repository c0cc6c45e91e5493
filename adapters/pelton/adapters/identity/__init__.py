"""Who asks: credentials in, principals out."""
