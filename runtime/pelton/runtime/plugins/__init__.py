"""Plugins that come with pelton: hooks for what many want of their agents."""
