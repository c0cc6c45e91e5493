"""The debugger in a real browser, on a real run: `make test-browser`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from tests.acceptance.running import Dev, ask, eventually, get, message, pelton_itself
from tests.browser.driving import chromium, link

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

TEAM = """
import asyncio

from pelton.runtime import Turn, agent


async def tick(number: int) -> str:
    await asyncio.sleep(0.02)
    return f"tick {number}"


@agent
async def boss(turn: Turn) -> str:
    \"\"\"Hands on what it is told, or counts.\"\"\"
    if turn.text.startswith("count "):
        for number in range(int(turn.text[6:])):
            await turn.step("tick", tick, number, idempotent=True)
        return "counted"
    report = await turn.delegate("clerk", turn.text)
    await turn.step(turn.text[:60], str.upper, turn.text, idempotent=True)
    await turn.stream(report.text)
    return report.text


@agent
async def clerk(turn: Turn) -> str:
    \"\"\"Says it again.\"\"\"
    return turn.text
"""

HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</textarea></style></title><svg onload=document.title='owned'>",
    "[click](javascript:document.title='owned')",
    "javascript:document.title='owned'",
    "${document.title='owned'} {{constructor.constructor('document.title=1')()}}",
    '"><iframe srcdoc="<script>parent.document.title=\'owned\'</script>">',
    "\u202egnp.exe \u2066\u2069 \u0007\u001b[31mred",
    "__proto__",
    "&lt;b&gt;&#x3c;script&#x3e;",
)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    cwd = tmp_path_factory.mktemp("dev")
    (cwd / "team.py").write_text(TEAM)
    with Dev(cwd, "--profile", "relaxed", agents=("team.py:boss", "team.py:clerk")) as dev:
        yield dev.ready()


def say(dev: Dev, text: str, *, wait: bool = True) -> str:
    """Say something to `boss`; returns the id of the context."""
    params = message(text, messageId=os.urandom(8).hex())
    params["configuration"] = {"returnImmediately": not wait}
    found: str = ask(f"{dev.url}/boss", "SendMessage", params)["task"]["contextId"]
    return found


def entries_in(dev: Dev, context: str) -> int:
    """Return how many commands and events the log has of a conversation."""
    done = pelton_itself("timeline", context, "--json", cwd=dev.cwd)
    records = [each for each in json.loads(done.stdout)["records"] if "._" not in each["subject"]]
    return sum(
        1 if each["subject"].startswith("cmd.") else len(each["record"]["data"]["events"])
        for each in records
    )


class Seen:
    """What went wrong in a page: no script may fail, and the policy is not even tried."""

    def __init__(self, page: Page) -> None:
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        page.on("console", self._heard)

    def _heard(self, said: Any) -> None:
        away = "Failed to load resource" in said.text or "ERR_" in said.text
        if said.type == "error" and not away:
            self.wrong.append(said.text)


@asynccontextmanager
async def opened(*, width: int = 1280, height: int = 800) -> AsyncGenerator[Page]:
    """Give a page of a browser of its own; at its end nothing may have gone wrong in it."""
    async with async_playwright() as driver:
        running = await driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = await running.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(30_000)
        seen = Seen(page)
        try:
            yield page
            assert seen.wrong == []
        finally:
            await running.close()


@pytest_asyncio.fixture
async def page(dev: Dev) -> AsyncIterator[Page]:
    """Return a page that has followed the link."""
    async with opened() as page:
        await page.goto(link(dev))
        await expect(page.get_by_role("status")).to_have_text("Live")
        yield page


async def show(page: Page, context: str) -> None:
    """Look at a conversation."""
    await page.evaluate("context => { location.hash = `#/conversations/${context}` }", context)
    await expect(page.locator(".moment h2")).to_be_visible(timeout=30_000)


async def counted(page: Page) -> int:
    """Return how many entries the page says that there are."""
    text = await page.locator(".where .count").inner_text()
    return int(text.rpartition(" ")[2].replace(",", ""))


@pytest.mark.accepts("S20")
async def test_the_link_opens_it_once_and_leaves_no_token(dev: Dev) -> None:
    async with opened() as page:
        answer = await page.goto(f"{dev.url}/debug")
        assert answer is not None
        assert answer.status == 401
        await expect(page.locator("h1")).to_have_text("This link is not good any more")
        await page.goto(link(dev))
        assert page.url == f"{dev.url}/debug"
        await expect(page.get_by_role("status")).to_have_text("Live")
        assert await page.evaluate("document.cookie") == ""
        await page.reload()
        await expect(page.get_by_role("status")).to_have_text("Live")


@pytest.mark.accepts("AS-22")
async def test_scrubbing_shows_the_state_as_of_any_entry(dev: Dev, page: Page) -> None:
    await show(page, say(dev, "a guide to bees"))
    total = await counted(page)
    title, facts = page.locator(".moment h2"), page.locator(".moment .facts")
    where, state = page.locator(".where .count"), page.locator(".moment .part").nth(1)
    await page.keyboard.press("Home")
    await expect(title).to_have_text("SendMessage")
    await expect(where).to_have_text(f"1 of {total}")
    for _ in range(total - 1):  # as fast as keys come
        await page.keyboard.press("ArrowRight")
    await expect(where).to_have_text(f"{total} of {total}")
    await expect(title).to_have_text("TurnEnded")
    await expect(state).to_contain_text("TASK_STATE_COMPLETED")
    await page.keyboard.press("Shift+ArrowLeft")
    await expect(where).to_have_text(f"{total - 10} of {total}")
    await page.get_by_role("slider").fill("1")
    await expect(title).to_have_text("TaskSubmitted")
    await expect(state).to_contain_text("TASK_STATE_SUBMITTED")
    await expect(page.locator(".change .path").first).to_have_text("id")
    await expect(page).to_have_url(re.compile(r"at=\d+\.1"))
    at = await facts.inner_text()
    await page.get_by_role("option").filter(has_text="StepCompleted").click()
    await expect(page.locator(".change .path").first).to_contain_text("turn.steps")
    await page.get_by_role("button", name="SendMessage").click()
    await expect(title).to_have_text("SendMessage")
    await page.go_back()
    await expect(title).to_have_text("StepCompleted")
    assert at != await facts.inner_text()
    await page.reload()
    await expect(title).to_have_text("StepCompleted")


async def test_the_graph_and_the_steps_are_of_the_same_moment(dev: Dev, page: Page) -> None:
    await show(page, say(dev, "two of us"))
    await page.keyboard.press("g")
    nodes = page.locator(".node")
    await expect(nodes).to_have_count(2)
    await expect(nodes.last).to_contain_text("clerk")
    await page.keyboard.press("s")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("done")
    await page.keyboard.press("Home")
    await expect(page.locator(".empty")).to_have_text("No step had begun by then")
    await page.keyboard.press("g")
    await expect(page.locator(".empty")).to_have_text("No task was begun by then")
    await page.keyboard.press("f")
    await nodes.last.click()
    await expect(page.get_by_label("Task", exact=True)).not_to_have_value("")
    rows = page.get_by_role("option").filter(has=page.locator(".agent"))
    await expect(rows.first).to_contain_text("clerk")
    await expect(rows.filter(has_text="boss")).to_have_count(0)


@pytest.mark.accepts("AS-32")
async def test_what_comes_is_followed_through_restarts_of_the_bridge_and_the_server(
    dev: Dev, page: Page
) -> None:
    context = say(dev, "count 150", wait=False)
    await show(page, context)
    await expect(page.get_by_role("button", name="Following")).to_be_visible()
    dev.await_restart("bridge", dev.strike("bridge"))
    dev.await_restart("nats-server", dev.strike("nats-server"))
    await expect(page.locator(".moment h2")).to_have_text("TurnEnded", timeout=60_000)
    await expect(page.get_by_role("status")).to_have_text("Live", timeout=60_000)
    await expect(page.locator(".head .state")).to_have_text("completed")
    eventually(lambda: get(f"{dev.url}/readyz")[0] == 200)
    assert await counted(page) == entries_in(dev, context)
    text = await page.locator(".conversations a").first.inner_text()
    assert "count 150" in text
    assert "completed" in text


@pytest.mark.accepts("S21")
async def test_hostile_text_is_text(dev: Dev, page: Page) -> None:
    for text in HOSTILE:
        await show(page, say(dev, text))
        clean = re.sub(r"\s+", " ", text)
        heading = re.sub(r"\s+", " ", await page.locator(".head h1").inner_text())
        assert heading == clean.strip()
        total = await counted(page)
        await page.keyboard.press("Home")
        for _ in range(total - 1):
            await page.keyboard.press("ArrowRight")
        await expect(page.locator(".moment h2")).to_have_text("TurnEnded")
        for tab in "gst":
            await page.keyboard.press(tab)
            await expect(page.locator(".node, tbody tr, .entry").first).to_be_visible()
        for fold in await page.locator(".fold[aria-expanded=false]").all():
            await fold.click(timeout=2000)
        assert await page.title() == "pelton"
        assert (
            await page.locator("iframe, img, script:not([src]), a[href^='javascript']").count() == 0
        )
        assert await page.locator("script").count() == 1


async def test_one_finds_what_was_said(dev: Dev, page: Page) -> None:
    context = say(dev, "zebras 100% of_them")
    await page.keyboard.press("/")
    await page.keyboard.type("100% OF_")
    found = page.locator(".conversations a")
    await expect(found).to_have_count(2)
    await expect(found.filter(has_text="for boss")).to_have_count(1)
    await page.get_by_label("Search conversations").fill("100_ of")
    await expect(page.locator(".empty-title").first).to_have_text("Nothing was said like that")
    await page.get_by_label("Search conversations").fill(context[:20])
    await expect(found.first).to_contain_text("zebras")
    await found.first.click()
    await page.get_by_label("Find in entries").fill("ZEBRAS")
    await expect(page.locator(".where .count")).to_have_text(re.compile(r"^\d+ of [1-9]\d?$"))
    await expect(page.get_by_role("option").filter(has_text="TurnEnded")).to_have_count(0)


async def test_on_a_narrow_screen_there_is_one_thing_at_a_time(dev: Dev) -> None:
    say(dev, "on the phone")
    async with opened(width=390, height=844) as page:
        await page.goto(link(dev))
        await page.locator(".conversations a").filter(has_text="on the phone").click()
        await expect(page.locator(".moment h2")).to_be_visible()
        await expect(page.locator(".sidebar")).to_be_hidden()
        for tab in ("Graph", "Steps", "Timeline"):
            await page.get_by_role("tab", name=tab).click()
            wide = await page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide[0] <= wide[1]
        await page.get_by_label("All conversations").click()
        await expect(page.locator(".sidebar")).to_be_visible()


async def test_help_tells_the_keys(page: Page) -> None:
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("follow what comes")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
