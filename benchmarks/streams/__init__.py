"""Many streams at once: how soon each subscriber has an event, and what one that is idle costs."""
