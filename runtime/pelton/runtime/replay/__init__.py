"""Looking back at the log (law 10): rebuild what was, and re-run recorded code without any effect.

`session` holds the records of a conversation, from a log or from a file (`archive`); `walk` and
`graph` rebuild from them, `rerun` runs an agent's code against them.
"""
