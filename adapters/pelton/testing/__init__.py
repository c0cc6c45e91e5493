"""For tests of agents: their code against what is recorded, without a server or any effect.

```python
from pelton.testing import rerun

rerun("word_counter.pelton", "c1-0123456789abcdef", "word_counter.py").check()
```

`pelton test save` writes such tests. With `pytest_plugins = ["pelton.testing.fixtures"]` in a
`conftest.py`, tests can ask for `recorded`.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from pelton.adapters.cli.references import load_agent
from pelton.runtime.agents import Agent
from pelton.runtime.replay.archive import open_file
from pelton.runtime.replay.rerun import rerun as _rerun
from pelton.runtime.replay.session import Session
from pelton.runtime.replay.verdict import Divergence as Divergence
from pelton.runtime.replay.verdict import Verdict as Verdict

Record = Session | str | PathLike[str]
"""A session, or the path of a session file."""


def rerun(record: Record, task: str, agent: Agent | str) -> Verdict:
    """Run an agent's code against a recorded task, without any effect; see `Verdict.check`.

    `agent` is one, or what names one: `module:name`, `path/to/file.py[:name]`. It has an event loop
    of its own: from a coroutine, call it with `asyncio.to_thread`.

    Raises:
        TaskNotFound: no turn of such a task is recorded.
        SessionDamaged: the file is none, or not as it was written.
        InvalidInput: what names the agent leads to none.
    """
    found = load_agent(agent) if isinstance(agent, str) else agent
    return _rerun(session(record), task, found)


def session(record: Record) -> Session:
    """Return what a session file holds, verified.

    Raises:
        SessionDamaged: the file is none, or not as it was written.
    """
    return record if isinstance(record, Session) else open_file(Path(record)).session
