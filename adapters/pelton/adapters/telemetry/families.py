"""All metrics by their names: one table, from which they are made and documented.

Labels are bounded: agents that have registered, tenants of the settings, and words of ours. Nothing
that a client has chosen is one.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from pelton.projections.ledger import COUNTS

Part = Literal["bridge", "executor", "projector"]

ALL: Final[tuple[Part, ...]] = ("bridge", "executor", "projector")

_BRIDGE: Final[tuple[Part, ...]] = ("bridge",)
_EXECUTOR: Final[tuple[Part, ...]] = ("executor",)

FAST: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Upper bounds in seconds for what takes milliseconds, mostly."""
SLOW: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0, 60.0, 300.0, 1800.0),
)
"""Upper bounds in seconds for what a model may take part in."""


class Family(NamedTuple):
    """A metric. `parts` are those that have it; a `counter` only ever grows, for one process.

    What is `read` is looked up when somebody asks for the metrics, all else is measured.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str
    parts: tuple[Part, ...] = ALL
    buckets: tuple[float, ...] = ()
    read: bool = False


def _counted(name: str, text: str) -> Family:
    """Return the metric of what the read models count for each agent."""
    assert name in COUNTS
    return Family(
        f"pelton_{name.replace('-', '_')}",
        *("counter", ("tenant", "agent"), text),
        parts=_BRIDGE,
        read=True,
    )


def _standing(
    name: str, labels: tuple[str, ...], text: str, *, parts: tuple[Part, ...] = ("bridge",)
) -> Family:
    return Family(name, "gauge", labels, text, parts, read=True)


FAMILIES: Final = (
    _standing(
        *("pelton_info", ("version", "part", "profile", "sync")),
        "Always 1: the version, the part, the durability profile, and how the log is synced.",
        parts=ALL,
    ),
    # The bridge.
    Family(
        *("pelton_request_seconds", "histogram", ("tenant", "binding", "method", "outcome")),
        "Seconds from a request to its answer, or to the beginning of its stream; `outcome` is ok,"
        " refused, failed (ours) or gone (the client was).",
        *(_BRIDGE, FAST),
    ),
    Family(
        *("pelton_request_errors", "counter", ("tenant", "binding", "method", "code")),
        "Requests that were not answered as asked, by the code of the error.",
        ("bridge",),
    ),
    _standing("pelton_streams", ("tenant",), "Streams and blocking requests that are open."),
    Family(
        *("pelton_push_deliveries", "counter", ("tenant", "outcome")),
        "Attempts to post a notification: delivered, retried, or given up.",
        ("bridge",),
    ),
    # The log.
    Family(
        *("pelton_append_seconds", "histogram", ("outcome",)),
        "Seconds that an append to the log took: stored, or the code of its error.",
        *(ALL, FAST),
    ),
    _standing(
        "pelton_log_connected", ("tenant",), "1 if the log's server can be reached.", parts=ALL
    ),
    _standing("pelton_log_last_sequence", ("tenant",), "The sequence of the log's last record."),
    # What the log says, by the read models: the same at every bridge.
    _standing(
        *("pelton_projection_position", ("tenant",)),
        "The sequence that the read models have reached.",
        parts=("bridge", "projector"),
    ),
    _standing(
        *("pelton_projection_lag", ("tenant",)),
        "By how many records the read models are behind the log.",
        parts=("bridge", "projector"),
    ),
    _standing("pelton_damaged_records", ("tenant",), "Records that could not be taken in."),
    _standing(
        *("pelton_queue_contexts", ("tenant", "agent")),
        "Contexts in which commands wait to be decided.",
    ),
    _standing("pelton_queue_commands", ("tenant", "agent"), "Commands that wait to be decided."),
    _standing(
        *("pelton_open_turns", ("tenant", "agent", "state")),
        "Turns that have begun and not ended: running, suspended, failed (and tried again), or"
        " handed-back.",
    ),
    _standing("pelton_open_questions", ("tenant",), "Questions that people have not answered."),
    _standing("pelton_open_dead_letters", ("tenant",), "Dead letters that nobody has redriven."),
    _counted("commands", "Commands that were decided."),
    _counted("duplicates", "Those among them that had been decided before."),
    _counted("refusals", "Commands that were refused."),
    _counted("turns", "Turns that began."),
    _counted("takeovers", "Attempts that took over from an executor that had died or stopped."),
    _counted("retries", "Turns and steps that failed and were to be tried again."),
    _counted("dead-letters", "Tasks that failed for good without their agent's wish."),
    _counted("redriven", "Tasks that were done again after that."),
    _counted("late-reports", "Outcomes of delegated tasks that nobody waited for any more."),
    Family(
        *("pelton_tokens", "counter", ("tenant", "agent", "direction")),
        "Tokens that agents have reported: input, output, or cached (of the input).",
        ("bridge",),
        read=True,
    ),
    Family(
        *("pelton_cost", "counter", ("tenant", "agent")),
        "Cost that agents have reported, in the operator's currency.",
        ("bridge",),
        read=True,
    ),
    # The executor.
    Family(
        *("pelton_attempt_seconds", "histogram", ("agent", "outcome")),
        "Seconds from the beginning of an attempt to its end: how the turn ended, or retried,"
        " suspended, handed-back, fenced (another executor has it), lost.",
        *(_EXECUTOR, SLOW),
    ),
    Family(
        *("pelton_attempts", "counter", ("agent", "kind")),
        "Attempts that began: the first of a turn, or one that goes on with it (again).",
        ("executor",),
    ),
    Family(
        *("pelton_step_seconds", "histogram", ("agent", "kind", "outcome")),
        "Seconds that a run of a step took until its result was recorded, by what it calls: code,"
        " a model or a tool. It is completed, failed or lost.",
        *(_EXECUTOR, SLOW),
    ),
    Family(
        *("pelton_steps_served", "counter", ("agent",)),
        "Steps that were served from the log, and not run again.",
        ("executor",),
    ),
    Family(
        *("pelton_delegations", "counter", ("agent", "outcome")),
        "Work that was handed on to another agent: sent, ended (at once), or lost.",
        ("executor",),
    ),
    Family(
        *("pelton_fenced", "counter", ("agent",)),
        "Contexts that were left to another executor, which had written.",
        ("executor",),
    ),
    Family(
        *("pelton_bells", "counter", ("agent", "kind")),
        "Bells that rang here: for the first time, or again (timers, retries, lost answers).",
        ("executor",),
    ),
    _standing(
        "pelton_contexts_in_hand", (), "Contexts that this executor works on.", parts=("executor",)
    ),
    _standing(
        *("pelton_agents_without_keys", ()),
        "Agents that this executor serves without the keys of what is sealed of them.",
        parts=("executor",),
    ),
    # All.
    Family(
        *("pelton_loop_restarts", "counter", ("loop",)),
        "Loops of the process that crashed and began again.",
    ),
    _standing("pelton_loops_down", (), "1 while a loop has crashed and waits to begin again."),
)
"""All metrics, as documentation shows them. Counters are exposed with `_total` at their end."""


def exposed(family: Family) -> tuple[str, ...]:
    """Return the names under which Prometheus knows a metric."""
    if family.kind == "counter":
        return (f"{family.name}_total",)
    if family.kind == "histogram":
        return tuple(f"{family.name}_{suffix}" for suffix in ("bucket", "count", "sum"))
    return (family.name,)


class SpanKind(NamedTuple):
    """A kind of span: how its name begins, what it is, and the attributes that it may have."""

    name: str
    kind: str
    text: str
    attributes: tuple[str, ...]


SPANS: Final = (
    SpanKind(
        *("A2A", "server"),
        "A request to a bridge, to the end of its stream: `A2A SendMessage`. Its context goes into"
        " the command that it appends, and so into every event that follows.",
        *(("correlation", "outcome", "binding", "tenant", "code"),),
    ),
    SpanKind(
        *("turn", "consumer"),
        "An attempt of a turn, child of the request whose command began it, whichever executor runs"
        " it: `turn AGENT`. An attempt that goes on is linked to the one before it.",
        *(("agent", "context", "task", "turn", "attempt", "correlation", "outcome"),),
    ),
    SpanKind(
        *("step", "internal"),
        "A run of a step's function, within its attempt: `step NAME`. What is served from the log"
        " has none.",
        *(("agent", "kind", "step", "outcome"),),
    ),
    SpanKind(
        *("delegate", "producer"),
        "Work that is handed on, within its attempt: `delegate AGENT`. The other agent's turn is"
        " its child.",
        *(("agent", "to", "key", "outcome"),),
    ),
)
"""All spans, as documentation shows them; attributes are spelt with `pelton.` before them."""
