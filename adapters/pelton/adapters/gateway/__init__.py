"""The model gateway: an endpoint on loopback that agents take for their model's provider.

What goes through it is recorded, counted and held to budgets; the provider's key stays behind it.
"""
