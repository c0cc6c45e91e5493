"""The contract of pelton, pure: what is in the log and what it means. No I/O, no clock, no chance.

`subjects` and `ids` say where a record lies, `envelope`, `commands`, `events` and `commit` what it
holds, `upcast` reads every version, `context` folds events into state, `decide` turns commands into
events, `states` is the life of a task, `a2a` and `card` are the protocol's own types.
"""
