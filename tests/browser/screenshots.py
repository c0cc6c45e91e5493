"""Takes the pictures of `docs/debugger.md` on a real run.

`python -m tests.browser.screenshots`, and look at each before it is committed.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from playwright.async_api import Page, async_playwright, expect

from tests.acceptance.running import Dev, pelton_itself, zygote
from tests.browser.driving import chromium, link

DOCS = Path(__file__).parents[2] / "docs"

TEAM = '''
import asyncio

from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.runtime import Report, Turn, agent
from pelton.runtime.agents import Terms
from pelton.runtime.failures import AgentError


async def search(question: str) -> list[dict[str, object]]:
    await asyncio.sleep(0.3)
    titles = ("The hive in winter", "A year with bees", "What bees cost")
    return [{"title": title, "score": round(0.9 / n, 2)} for n, title in enumerate(titles, 1)]


async def draft(question: str, chapter: int) -> str:
    await asyncio.sleep(0.4)
    return f"Chapter {chapter}. Bees keep warm by shivering, and eat what they have put by. " * 6


async def collect(question: str) -> str:
    return "All that is known about bees. " * 3000


@agent
async def writer(turn: Turn) -> str:
    """Researches and writes, and asks others."""
    known = await turn.memory.recall("bees readers")
    found = await turn.step("search", search, turn.text, idempotent=True)
    await turn.status("I have three sources, and ask the others.")
    reports = await turn.gather(
        turn.delegate("checker", "Do bees sleep in winter?", within=60),
        turn.delegate("pricer", "What does a hive cost?", within=60),
    )
    await turn.step("collect", collect, turn.text, idempotent=True)
    for chapter in (1, 2, 3):
        await turn.stream(await turn.step("draft", draft, turn.text, chapter, idempotent=True))
    said = " ".join(each.text for each in reports if isinstance(each, Report))
    await turn.memory.commit(
        f"The guide has {len(found)} sources. {said}",
        scope="global",
        step="search",
        sources=[each.ref for each in known.items],
    )
    return f"A guide of three chapters, with {len(found)} sources. {said}"


@agent
async def checker(turn: Turn) -> str:
    """Checks facts."""
    await turn.memory.recall("bees in winter")
    await turn.step("look up", search, turn.text, idempotent=True)
    return "They do not: they keep warm."


@agent
async def pricer(turn: Turn) -> str:
    """Knows what things cost."""
    report = await turn.delegate("supplier", "A hive, with bees?", within=60)
    return f"About {report.text}."


@agent
async def supplier(turn: Turn) -> str:
    """Supplies."""
    await turn.sleep(0.4)
    return "300 euros"


@agent
async def buyer(turn: Turn) -> str:
    """Buys, if somebody approves."""
    said = await turn.approve("Buy two hives for 600 euros?", tool="buy", args={"hives": 2})
    return "Bought." if said.approved else f"Not bought: {said.reason}"


def work(text: str) -> str:
    raise AgentError("The printer is away.", kind=FailureClass.PROVIDER)


@agent(terms=Terms(retries={FailureClass.PROVIDER: Retry(attempts=2, first=0.1)}))
async def printer(turn: Turn) -> str:
    """Prints, if the printer is there."""
    return await turn.step("print", work, turn.text, idempotent=True)
'''
AGENTS = ("writer", "checker", "pricer", "supplier", "buyer", "printer")
SAID = (
    ("printer", "the labels for the jars"),
    ("buyer", "two hives, before spring"),
    ("writer", "a guide to keeping bees"),
)
KNOWN = "Readers keep bees for the first time: say what each word means."
OTHER = '[{"title": "The hive in winter", "score": 0.9}]'


async def take(page: Page, name: str) -> None:
    """Take a picture of what is in sight."""
    await page.mouse.move(0, 0)
    await page.wait_for_timeout(400)  # until what was fetched is drawn
    await page.screenshot(path=DOCS / f"debugger-{name}.png")


async def look(page: Page, text: str) -> None:
    """Look at a conversation."""
    await page.locator(".conversations a").filter(has_text=text).click()
    await expect(page.locator(".moment h2")).to_be_visible()


async def searched(page: Page) -> None:
    """Look at where the search was done."""
    await page.keyboard.press("Home")
    step = page.get_by_role("option").filter(has_text="StepCompleted").filter(has_text="search#1")
    await step.first.click()
    await expect(page.locator(".moment .said")).to_contain_text("search#1")


async def fork(page: Page) -> None:
    """Let the search find less, and see what comes of it beside what came of it."""
    await page.get_by_role("button", name="Fork here").click()
    await expect(page.get_by_label("Result")).to_have_value(re.compile("hive"))
    await page.get_by_label("Result").fill(OTHER)
    await page.get_by_label("Live steps").fill("collect, draft")
    await page.get_by_role("button", name="Fork", exact=True).click()
    await expect(page.locator(".verdict")).to_be_visible(timeout=90_000)


async def pictures(url: str) -> None:
    """Take all pictures."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = await browser.new_page(
                viewport={"width": 1280, "height": 800}, color_scheme=scheme
            )
            await page.goto(url)
            await look(page, "bees")
            await searched(page)
            await take(page, f"timeline-{scheme}")
            if scheme == "dark":
                await page.keyboard.press("f")
                await page.keyboard.press("g")
                await take(page, "graph-dark")
            else:
                await fork(page)
                await take(page, "fork")
                await page.get_by_role("link", name="Memory", exact=True).click()
                await page.locator(".memories a").filter(has_text="The guide").click()
                await take(page, "memory")
            await page.close()
        page = await browser.new_page(viewport={"width": 390, "height": 844})
        await page.goto(url)
        await look(page, "bees")
        await take(page, "narrow")
        await browser.close()


def main() -> None:
    """Run everything, say something to everybody, and take the pictures."""
    with tempfile.TemporaryDirectory() as directory:
        cwd = Path(directory)
        (cwd / "team.py").write_text(TEAM)
        agents = [f"team.py:{name}" for name in AGENTS]
        with Dev(cwd, "--profile", "relaxed", agents=agents) as dev:
            dev.ready()
            pelton_itself("memory", "commit", KNOWN, "--global", cwd=cwd)
            for agent, text in SAID:
                pelton_itself("send", agent, text, cwd=cwd)
            asyncio.run(pictures(link(dev)))
            dev.stop()
    zygote.close()


if __name__ == "__main__":
    main()
