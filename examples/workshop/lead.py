"""The agent `lead`: it has the coder, which is Claude Code, do the work."""

from pelton.runtime import DelegationFailed, Turn, agent


@agent
async def lead(turn: Turn) -> str:
    """Has something done by the coder, and says what came of it."""
    await turn.status("The coder is at it.")
    place = f"{turn.context_id}-code"  # the coder's conversation goes on with this one
    try:
        report = await turn.delegate("coder", turn.text, context_id=place, within=600)
    except DelegationFailed as failed:
        await turn.fail(f"The coder has not done it: {failed.report.text}")
    return f"The coder says: {report.text}"
