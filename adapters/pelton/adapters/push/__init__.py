"""Push notifications: what happens to a task is posted to where its client has asked for it."""
