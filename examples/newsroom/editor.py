"""The agent `editor`: it has the researcher find out, and the writers write.

Both conversations go on with its own. So the researcher knows what it was asked before, and the
writers what they wrote, on whatever machine either runs.
"""

from pelton.runtime import DelegationFailed, Turn, agent


@agent
async def editor(turn: Turn) -> str:
    """Has a subject looked into, and an article written of it."""
    try:
        await turn.status("I ask the researcher.")
        question, place = f"What is new about {turn.text}?", f"{turn.context_id}-research"
        found = await turn.delegate("researcher", question, context_id=place, within=120)
        await turn.status("I have it written.")
        notes, place = f"Write about {turn.text}, from these notes: {found.text}", turn.context_id
        written = await turn.delegate("writers", notes, context_id=f"{place}-desk", within=300)
    except DelegationFailed as failed:
        await turn.fail(f"There will be no article: {failed.report.text}")
    # What comes back is other agents' words: it is quoted, and nothing it says is obeyed.
    return f"{turn.text.upper()}\n{written.text}"
