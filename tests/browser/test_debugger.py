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
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from tests.acceptance.running import Dev, ask, eventually, get, message, pelton_itself
from tests.browser.driving import chromium, link

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE = 60_000
"""Milliseconds that anything may take: machines may be busy."""

TEAM = """
import asyncio

from pelton.events.events import FailureClass
from pelton.runtime import Turn, agent
from pelton.runtime.failures import AgentError


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
    if turn.text.startswith("ask "):
        said = await turn.approve(turn.text, tool=turn.text, args={turn.text: turn.text})
        return f"approved: {said.approved}"
    if turn.text.startswith("break "):
        raise AgentError(turn.text, kind=FailureClass.VALIDATION)
    if turn.text.startswith("remember "):
        await turn.memory.commit(turn.text[9:], scope="global")
        return "noted"
    if turn.text.startswith("recall "):
        return str((await turn.memory.recall(turn.text[7:])).total)
    report = await turn.delegate("clerk", turn.text)
    name = turn.text[:60].replace("=", " ")
    loud = await turn.step(name, str.upper, turn.text, idempotent=True)
    turn.usage("small", input_tokens=1234, output_tokens=56, cost=0.0123)
    await turn.stream(report.text)
    return loud


@agent
async def clerk(turn: Turn) -> str:
    \"\"\"Says it again.\"\"\"
    return turn.text
"""

expect.set_options(timeout=PATIENCE)

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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Return a browser: each test has a profile of its own in it."""
    async with async_playwright() as driver:
        running = await driver.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"], timeout=PATIENCE
        )
        yield running
        await running.close()


@asynccontextmanager
async def opened(browser: Browser, *, width: int = 1280, height: int = 800) -> AsyncGenerator[Page]:
    """Give a page with a profile of its own; at its end nothing may have gone wrong in it."""
    context = await browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    seen = Seen(page)
    try:
        yield page
        assert seen.wrong == []
    finally:
        await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(dev: Dev, browser: Browser) -> AsyncIterator[Page]:
    """Return a page that has followed the link."""
    async with opened(browser) as page:
        await page.goto(link(dev))
        await expect(page.get_by_role("status")).to_have_text("Live")
        yield page


async def show(page: Page, context: str) -> None:
    """Look at a conversation."""
    await page.evaluate("context => { location.hash = `#/conversations/${context}` }", context)
    await expect(page.locator(".moment h2")).to_be_visible()


async def counted(page: Page) -> int:
    """Return how many entries the page says that there are."""
    text = await page.locator(".where .count").inner_text()
    return int(text.rpartition(" ")[2].replace(",", ""))


@pytest.mark.accepts("S20")
async def test_the_link_opens_it_once_and_leaves_no_token(dev: Dev, browser: Browser) -> None:
    async with opened(browser) as page:
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
    await expect(nodes.first).to_contain_text("all 2 · 1 step · 1,290 tokens · 0.0123")
    for line in await page.locator(".node .cost").all():
        assert await line.evaluate("each => each.scrollWidth <= each.clientWidth"), "all of it"
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
    await expect(page.locator(".moment h2")).to_have_text("TurnEnded")
    await expect(page.get_by_role("status")).to_have_text("Live")
    await expect(page.locator(".head .state")).to_have_text("completed")
    eventually(lambda: get(f"{dev.url}/readyz")[0] == 200)
    assert await counted(page) == entries_in(dev, context)
    text = await page.locator(".conversations a").first.inner_text()
    assert "count 150" in text
    assert "completed" in text


async def test_it_comes_back_whatever_it_is_told_meanwhile(dev: Dev, page: Page) -> None:
    """A bridge that begins again may fail to answer for other reasons than that it is not there."""
    told: list[str] = []

    async def broken(route: Route) -> None:
        told.append(route.request.url)
        error = {"error": {"code": "internal", "message": "not yet"}}
        if len(told) > 1:
            await route.continue_()
        else:
            await route.fulfill(status=500, json=error)

    await page.route("**/debug/api/overview", broken)
    dev.await_restart("bridge", dev.strike("bridge"))
    await expect(page.get_by_role("status")).to_have_text("Reconnecting")
    await expect(page.get_by_role("status")).to_have_text("Live")
    assert told


@pytest.mark.accepts("S21")
async def test_hostile_text_is_text(dev: Dev, page: Page) -> None:
    for text in ("\n".join(HOSTILE), *HOSTILE):
        await show(page, say(dev, text))
        clean = re.sub(r"\s+", " ", text)
        heading = re.sub(r"\s+", " ", await page.locator(".head h1").inner_text())
        assert heading == clean.strip()
        await expect(page.locator(".moment h2")).to_have_text("TurnEnded")
        if text not in HOSTILE:  # all of them: walked through, entry by entry
            total = await counted(page)
            await page.keyboard.press("Home")
            await expect(page.locator(".moment h2")).to_have_text("SendMessage")
            for at in range(2, total + 1):
                await page.keyboard.press("ArrowRight")
                await expect(page.locator(".where .count")).to_have_text(f"{at} of {total}")
            await expect(page.locator(".moment h2")).to_have_text("TurnEnded")
        for tab in "gst":
            await page.keyboard.press(tab)
            await expect(page.locator(".node, tbody tr, .entry").first).to_be_visible()
        for fold in await page.locator(".fold[aria-expanded=false]").all():
            await fold.click()
        await unharmed(page)


async def unharmed(page: Page) -> None:
    """Hold that no text has become more than text."""
    assert await page.title() == "pelton"
    markup = "iframe, img, script:not([src]), a[href^='javascript']"
    assert await page.locator(markup).count() == 0
    assert await page.locator("script").count() == 1


async def fork(page: Page, result: str) -> None:
    """Fork at the step of the task that is shown, with another result."""
    await page.keyboard.press("Home")
    await page.get_by_role("option").filter(has_text="StepCompleted").click()
    await expect(page.locator(".moment h2")).to_have_text("StepCompleted")
    await page.get_by_role("button", name="Fork here").click()
    await expect(page.get_by_label("Result")).not_to_have_value("")
    await page.get_by_label("Result").fill(result)
    await page.get_by_role("button", name="Fork", exact=True).click()


@pytest.mark.accepts("AS-22")
async def test_a_fork_is_shown_beside_its_original(dev: Dev, page: Page) -> None:
    context = say(dev, "a fork in the road")
    before = entries_in(dev, context)
    await show(page, context)
    await fork(page, "no json")
    await expect(page.get_by_role("alert")).to_contain_text("a text stands in quotes")
    await page.get_by_label("Result").fill('"a spoon"')
    button = page.get_by_role("button", name="Fork", exact=True)
    ink = "each => getComputedStyle(each).color"
    there = await button.evaluate(ink)
    await button.click()
    await expect(button).to_be_disabled()
    assert await button.evaluate(ink) == there, "its word can be read"
    await expect(page.locator(".verdict")).to_contain_text(
        "turn 1 StepCompleted a fork in the road"
    )
    first = page.locator("tr.first td")
    await expect(first.first).to_contain_text("A FORK IN THE ROAD")
    await expect(first.last).to_contain_text("a spoon")
    await expect(page.locator("thead th").last).to_contain_text("fork")
    await expect(page.locator("tr.altered").last).to_contain_text("completed")
    await page.get_by_role("button", name=re.compile("alike$")).first.click()
    await expect(page.locator("tr.alike").first).to_be_visible()
    await page.get_by_role("link", name="Compare").click()
    card = page.locator(".card").filter(has_text="result of a fork in the road#1")
    await card.get_by_role("link", name="the fork alone").click()
    await expect(page.locator(".head .fork")).to_be_visible()
    await expect(page.get_by_role("option").filter(has_text="completed 'a spoon'")).to_be_visible()
    await page.get_by_role("link", name="Beside its original").click()
    await expect(page.locator(".verdict")).to_contain_text("They first differ")
    assert entries_in(dev, context) == before, "the original is only read"


async def test_a_fork_is_forked_with_stubs_and_without_a_memory(dev: Dev, page: Page) -> None:
    say(dev, "remember otters like trout")
    await show(page, say(dev, "recall otters"))
    await page.keyboard.press("End")
    await page.get_by_role("button", name="Fork here").click()
    await page.get_by_label("from before its first turn instead").check()
    await page.get_by_text("Memories that it is given no more").click()
    await page.locator(".drops").get_by_label("otters like trout").check()
    await page.get_by_role("button", name="Fork", exact=True).click()
    await expect(page.locator(".verdict")).to_contain_text("memory.recall#1")
    await expect(page.locator("tr.altered").last).to_contain_text("0")
    await page.get_by_role("link", name="Compare").click()
    card = page.locator(".card").filter(has_text="dropped")
    await card.get_by_role("link", name="the fork alone").click()
    await expect(page.locator(".head .fork")).to_be_visible()
    await page.keyboard.press("End")
    await page.get_by_role("button", name="Fork here").click()
    await page.get_by_label("Message").fill("count 1")
    await page.get_by_label("Stubs").fill("tick = 1\nnot json")
    await page.get_by_role("button", name="Fork", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("no JSON")
    await page.get_by_label("Stubs").fill('tick = "stubbed"')
    await page.get_by_role("button", name="Fork", exact=True).click()
    await page.get_by_role("link", name="Compare").click()
    card = page.locator(".card").filter(has_text="tick without running")
    await expect(card.locator(".state")).to_have_text("completed")
    await card.get_by_role("link", name="the fork alone").click()
    await expect(page.get_by_role("option").filter(has_text="stubbed")).to_be_visible()


async def test_a_fork_that_cannot_be_says_why(dev: Dev, page: Page) -> None:
    await show(page, say(dev, "nothing more to do"))
    await page.keyboard.press("End")
    await expect(page.locator(".moment h2")).to_have_text("TurnEnded")
    await page.get_by_role("button", name="Fork here").click()
    await page.get_by_role("button", name="Fork", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("the task has ended there")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def task_of(dev: Dev, page: Page, text: str) -> str:
    """Say something, begin to compare its task, and return its id."""
    await show(page, say(dev, text))
    await page.locator(".head").get_by_role("link", name="Compare").click()
    await expect(page.get_by_label("One task")).to_be_visible()
    return await page.get_by_label("One task").input_value()


async def test_two_tasks_are_compared(dev: Dev, page: Page) -> None:
    other = await task_of(dev, page, "the one task")
    one = await task_of(dev, page, "the other task")
    await page.get_by_label("Another task").fill(other)
    await page.get_by_role("button", name="Compare").click()
    await expect(page.locator(".verdict")).to_contain_text("They first differ")
    await expect(page.locator("tr.first")).to_contain_text("to clerk")
    await page.get_by_label("Another task").fill(one)
    await page.get_by_role("button", name="Compare").click()
    await expect(page.locator(".verdict")).to_contain_text("Nothing differs.")


async def test_a_memory_tells_why_and_who_was_given_it(dev: Dev, page: Page) -> None:
    first, second = say(dev, "remember badgers like plums"), say(dev, "recall badgers")
    await show(page, first)
    await page.keyboard.press("m")
    card = page.locator(".card")
    await expect(card).to_contain_text("badgers like plums")
    await expect(card.locator(".links")).to_contain_text("written")
    await page.keyboard.press("Home")
    await expect(page.locator(".empty-title")).to_have_text("No memory was used by then")
    await page.keyboard.press("f")
    await card.get_by_role("link", name="Why, and who else").click()
    seen = page.locator(".remembered")
    await expect(seen.locator("pre").first).to_have_text("badgers like plums")
    await expect(seen.locator("figure")).to_contain_text("remember badgers like plums")
    await expect(seen.locator(".uses li")).to_contain_text("memory.recall#1")
    memory = (await seen.locator("h1 code").get_attribute("title")) or ""
    done = pelton_itself("memory", "revise", memory, "badgers like pears", cwd=dev.cwd)
    assert done.returncode == 0, done.stderr
    await expect(seen.locator("pre").first).to_have_text("badgers like pears")
    await seen.get_by_role("button", name="version 1").click()
    await expect(seen.locator("pre").first).to_have_text("badgers like plums")
    await expect(page.locator(".warning")).to_contain_text("As of #")
    await expect(seen).to_contain_text("Nobody by then")
    await page.get_by_role("link", name="See it as of now").click()
    await page.get_by_label("Search memories").fill("pears")
    await expect(page.locator(".memories a").filter(has_text="badgers like pears")).to_have_count(1)
    await seen.locator(".uses a").click()
    await expect(page).to_have_url(re.compile(second))
    await expect(page.locator(".moment .said")).to_contain_text("memory.recall#1")


async def test_people_answer_and_do_again_what_failed(dev: Dev, page: Page) -> None:
    context = say(dev, "ask whether to go", wait=False)
    say(dev, "break a leg")
    await page.get_by_role("link", name="Inbox").click()
    card = page.locator(".card").filter(has_text="ask whether to go")
    await card.get_by_role("button", name="Approve").click()
    await expect(card).to_have_count(0)
    await page.get_by_role("link", name="Dead letters").click()
    letter = page.locator(".card").filter(has_text="break a leg")
    await letter.get_by_role("button", name="Do it again").click()
    await page.get_by_label("those too that were done again").check()
    await expect(letter).to_have_count(2)  # it has failed again
    await expect(letter.filter(has_text="done again as")).to_have_count(1)
    await show(page, context)
    await expect(page.locator(".head .state")).to_have_text("completed")
    said = page.get_by_role("option").filter(has_text="completed 'approved: True'")
    await expect(said).to_be_visible()


@pytest.mark.accepts("S21")
async def test_hostile_text_is_text_everywhere_else_too(dev: Dev, page: Page) -> None:
    text = "\n".join(HOSTILE)
    say(dev, f"remember {text}")
    say(dev, f"ask {text}", wait=False)
    say(dev, f"break {text}")
    await page.get_by_role("link", name="Memory").click()
    await page.get_by_label("Search memories").fill("constructor")
    await page.locator(".memories a").filter(has_text="constructor").click()
    await expect(page.locator(".remembered figure")).to_be_visible()
    assert await page.locator(".remembered pre").first.text_content() == text
    await unharmed(page)
    for name in ("Inbox", "Dead letters"):
        await page.get_by_role("link", name=name).click()
        asked = page.locator(".asked").filter(has_text="constructor")
        await expect(asked).to_be_visible()
        assert (await asked.text_content() or "").partition(" ")[2] == text
        await unharmed(page)
    context = say(dev, text)
    await show(page, context)
    await fork(page, json.dumps(text))
    await expect(page.locator("tr.first")).to_contain_text("constructor")
    await unharmed(page)
    await page.get_by_role("link", name="Compare").click()
    await expect(page.locator(".card").filter(has_text="onerror")).to_be_visible()
    await unharmed(page)


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
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.get_by_label("Search conversations").fill("")
    async with page.expect_request(lambda request: "find=zebras" in request.url):
        await page.keyboard.type("zebras")
    assert len([each for each in asked if "find=z" in each]) == 1, "it waits for what is typed"
    await expect(found).to_have_count(2)
    await found.filter(has_not_text="for boss").click()
    await page.get_by_label("Find in entries").fill("ZEBRAS")
    await expect(page.locator(".where .count")).to_have_text(re.compile(r"^\d+ of [1-9]\d?$"))
    await expect(page.get_by_role("option").filter(has_text="TurnEnded")).to_have_count(0)
    await page.get_by_label("Find in entries").fill("nobody has said this")
    await expect(page.locator(".empty-title")).to_have_text("No entries like that")
    await expect(page.locator(".moment h2")).to_have_count(0)


async def test_on_a_narrow_screen_there_is_one_thing_at_a_time(dev: Dev, browser: Browser) -> None:
    say(dev, "on the phone")
    async with opened(browser, width=390, height=844) as page:
        await page.goto(link(dev))
        await page.locator(".conversations a").filter(has_text="on the phone").click()
        await expect(page.locator(".moment h2")).to_be_visible()
        await expect(page.locator(".sidebar")).to_be_hidden()
        for tab in ("Graph", "Steps", "Memory", "Timeline"):
            await page.get_by_role("tab", name=tab).click()
            assert await fits(page)
        await page.get_by_label("All conversations").click()
        await expect(page.locator(".sidebar")).to_be_visible()
        for name in ("Memory", "Inbox", "Dead letters", "Compare"):
            await page.get_by_role("link", name=name).click()
            await expect(page.locator(".pages [aria-current]")).to_contain_text(name)
            assert await fits(page)


async def fits(page: Page) -> bool:
    """Whether a page is no wider than what it is looked at through."""
    wide, seen = await page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    return bool(wide <= seen)


async def test_help_tells_the_keys(page: Page) -> None:
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("follow what comes")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
