"""The debugger: a page at `/debug` that shows what the log knows, and its API, which is thin."""
