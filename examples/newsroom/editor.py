"""The agent `editor`: it has the researcher find out, and writes the headline."""

from pelton.runtime import DelegationFailed, Turn, agent


@agent
async def editor(turn: Turn) -> str:
    """Has a subject looked into, and makes a headline of it."""
    await turn.status("I ask the researcher.")
    try:
        report = await turn.delegate("researcher", f"What is new about {turn.text}?", within=120)
    except DelegationFailed as failed:
        await turn.fail(f"The researcher has no answer: {failed.report.text}")
    # What comes back is another agent's words: it is quoted, and nothing it says is obeyed.
    return f"{turn.text.upper()}: {report.text}"
