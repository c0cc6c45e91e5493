"""Tenants and roles of nats.conf: each can do all that it needs, and nothing to another tenant."""

# nats-py's signatures are partly unknown to a type checker.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
from nats.aio.msg import Msg

from pelton.adapters.push.keys import new_key
from pelton.adapters.sealing import TenantCipher
from pelton.events.envelope import digest
from pelton.events.keys import Presented
from pelton.runtime.access import KeyChanges
from pelton.runtime.agents import agent
from pelton.runtime.diagnosis import diagnose
from pelton.runtime.families import Families
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.log import LogError
from pelton.runtime.turn import Turn
from pelton.runtime.vault import ContentErased, Sealing
from tests import test_deployment
from tests.adapters.a2a.world import WORLD, Rpc, executing, message, served, until
from tests.adapters.push.receiver import pushing, receiving
from tests.test_deployment import peer, url

server = test_deployment.server
provisioned = test_deployment.provisioned

PATIENCE = 0.8
LASTS = 2.5
"""Seconds: several times the lease, which must be renewed."""


async def work(text: str) -> str:
    await asyncio.sleep(LASTS)  # the work: the lease is renewed meanwhile
    return text


@agent(description="Does what a turn can do.")
async def role(turn: Turn) -> None:
    """Do what the message names."""
    if "long" in turn.text:
        assert await turn.step("work", work, turn.text) == turn.text
        await turn.stream("one ")
        await turn.stream("two", last=True)
    elif "big" in turn.text:
        await turn.artifact("x" * 700_000, name="big")
    elif "cancel" in turn.text:
        await turn.stream("begun")
        await asyncio.sleep(30)  # until it is cancelled
    elif "remember" in turn.text:
        await turn.memory.commit("Salt is in the cellar.")
        found = await turn.memory.recall("cellar")
        await turn.reply(" ".join(each.content for each in found.items))
    elif "ask" in turn.text:
        await turn.require_input("What else?")
    else:
        await turn.reply("hello")


def violations(server: Mapping[str, str]) -> list[str]:
    """Return what the server has said of forbidden publishing and subscribing."""
    return [line for line in Path(server["log"]).read_text().splitlines() if "Violation" in line]


async def test_whoever_looks_as_a_part_is_told_to_look_as_the_owner(
    provisioned: Mapping[str, str], tmp_path: Path
) -> None:
    for user in ("acme-bridge", "acme-executor", "acme-projector"):
        looking = diagnose(
            url(provisioned, user),
            profile=RELAXED,
            credentials=None,
            monitoring="",
            data=tmp_path,
            world=WORLD,
        )
        *_, last = [check async for check in looking]
        assert (last.name, last.state) == ("jetstream", "unknown")
        assert "the owner of the account" in last.remedy


@pytest.mark.accepts("S26")
async def test_a_bridge_an_executor_and_a_projector_need_no_more(
    provisioned: Mapping[str, str], tmp_path: Path
) -> None:
    """Everything that a request can lead to, with each part logged in as its own user."""
    before = len(violations(provisioned))
    async with (
        JetStreamLog.open(url(provisioned, "acme-bridge"), name="bridge") as bridge,
        JetStreamLog.open(url(provisioned, "acme-executor"), name="executor") as executor,
        JetStreamLog.open(url(provisioned, "acme-projector"), name="projector") as projector,
        executing(executor, role, patience=PATIENCE),
        receiving() as receiver,
        pushing(tmp_path) as push,
        served(bridge, tmp_path, projected=projector, answer_within=20, push=push) as address,
        httpx.AsyncClient(timeout=40) as client,
    ):
        rpc = Rpc(f"{address}/role", client)

        async def send(text: str, **members: Any) -> dict[str, Any]:
            sent = message(text, **{"messageId": secrets.token_hex(4)} | members)
            found: dict[str, dict[str, Any]] = await rpc.result("SendMessage", **sent)
            return found["task"]

        config = {"taskPushNotificationConfig": {"url": f"{receiver.url}/hook"}}
        assert state(await send("hello", configuration=config)) == "COMPLETED"
        assert (await receiver.until(3))[-1] == "statusUpdate completed"
        big = await send("big" + "y" * 700_000)
        assert len(big["artifacts"][0]["parts"][0]["text"]) == 700_000

        async with await nats.connect(url(provisioned, "acme")) as owner:
            await owner.jetstream().delete_stream("KV_LEASE")  # as a restart does
        sent = message("long", messageId="long")
        events = [event async for _, event in rpc.events("SendStreamingMessage", sent)]
        assert events[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert sum("artifactUpdate" in event for event in events) >= 1

        remembered = await send("remember")
        said = remembered["status"]["message"]["parts"]
        assert said == [{"text": "Salt is in the cellar."}]

        asked = await send("ask")
        assert state(asked) == "INPUT_REQUIRED"
        again = await send("hello", taskId=asked["id"], contextId=asked["contextId"])
        assert state(again) == "COMPLETED"

        running = await send("cancel", configuration={"returnImmediately": True})
        stream = rpc.events("SubscribeToTask", {"id": running["id"]})
        assert "task" in (await anext(stream))[1]
        canceled = await rpc.result("CancelTask", id=running["id"])
        assert state(canceled) == "CANCELED"
        await stream.aclose()
        assert state(await rpc.result("GetTask", id=running["id"])) == "CANCELED"
        listed = await rpc.result("ListTasks")
        assert {each["id"] for each in listed["tasks"]} >= {big["id"], asked["id"], running["id"]}
    assert violations(provisioned)[before:] == []


@pytest.mark.accepts("S1", "S26", "AS-39")
async def test_a_bridge_spends_refresh_tokens_and_an_executor_makes_no_keys(
    provisioned: Mapping[str, str],
) -> None:
    family, hash_ = secrets.token_hex(16), digest(b"one")
    lasts = timedelta(days=1)

    def families(log: JetStreamLog) -> Families:
        return Families(log, world=WORLD, tenant="acme", actor="test")

    async with (
        JetStreamLog.open(url(provisioned, "acme")) as owner,
        JetStreamLog.open(url(provisioned, "acme-bridge"), name="bridge") as bridge,
        JetStreamLog.open(url(provisioned, "acme-executor"), name="executor") as executor,
    ):
        await families(owner).grant("anna", ["client"], family=family, hash=hash_, lasts=lasts)
        before = len(violations(provisioned))
        await families(bridge).refresh(Presented(family, hash_), digest(b"two"))
        await families(bridge).revoke(family)
        heard: list[bytes] = []
        async with bridge.told("rates", heard.append):
            bridge.tell("rates", b"news")
            await until(lambda: heard == [b"news"])
        assert violations(provisioned)[before:] == []
        keys = KeyChanges(executor, world=WORLD, tenant="acme", actor="test")
        with pytest.raises(LogError):
            await keys.create("eve", ["operator"], key_id="0" * 16, hash=hash_, lasts=lasts)
        assert "evt._access.keys" in violations(provisioned)[before]


@pytest.mark.accepts("S26", "AS-24")
async def test_who_works_seals_and_only_the_owner_erases(
    provisioned: Mapping[str, str], tmp_path: Path
) -> None:
    new_key(tmp_path / "keys", world=WORLD)
    sealing = Sealing(TenantCipher(tmp_path / "keys", world=WORLD))
    before = len(violations(provisioned))
    async with (
        JetStreamLog.open(url(provisioned, "acme")) as owner,
        JetStreamLog.open(
            url(provisioned, "acme-bridge"), name="bridge", sealing=sealing
        ) as bridge,
        JetStreamLog.open(
            url(provisioned, "acme-executor"), name="executor", sealing=sealing
        ) as executor,
    ):
        sealed = await bridge.vault.seal("echo", "c", b"what was said")
        assert await executor.vault.open(*sealed) == b"what was said"
        assert violations(provisioned)[before:] == []
        assert (await owner.vault.erase("echo", "c")).erased
        for log in (bridge, executor):
            log.vault.forget_all()
            with pytest.raises(ContentErased):
                await log.vault.open(*sealed)
        assert violations(provisioned)[before:] == []
        await bridge.vault.seal("echo", "d", b"more")
        async with peer(provisioned, "acme-executor") as client:
            assert not await client.may_publish("$JS.API.STREAM.MSG.DELETE.KV_KEYS")


def state(task: dict[str, Any]) -> str:
    """Return the state of a task, as the specification's text calls it."""
    return str(task["status"]["state"]).removeprefix("TASK_STATE_")


READS = {
    *("$JS.API.STREAM.INFO.LOG", "$JS.API.STREAM.INFO.BLOBS", "$JS.API.STREAM.INFO.KV_LEASE"),
    *("$JS.API.STREAM.CREATE.KV_LEASE", "$JS.API.DIRECT.GET.LOG", "$JS.API.STREAM.MSG.GET.LOG"),
    *("$JS.API.DIRECT.GET.BLOBS.blob.*.*", "$JS.API.STREAM.MSG.GET.BLOBS"),
    *("$JS.API.CONSUMER.CREATE.LOG.*", "$JS.API.CONSUMER.MSG.NEXT.LOG.*"),
    "$JS.API.CONSUMER.DELETE.LOG.*",
}
KEYS = {"$KV.KEYS.*.*", "$JS.API.STREAM.CREATE.KV_KEYS", "$JS.API.STREAM.MSG.GET.KV_KEYS"}
LISTED: dict[str, tuple[set[str], set[str], set[str]]] = {
    "OWNER": (
        set(),
        {
            *(f"$JS.API.STREAM.{verb}.LOG" for verb in ("DELETE", "PURGE", "MSG.DELETE")),
            *(f"$JS.API.STREAM.{verb}.BLOBS" for verb in ("DELETE", "PURGE")),
            *(f"$JS.API.STREAM.{verb}.KV_KEYS" for verb in ("DELETE", "PURGE")),
        },
        set(),
    ),
    "EXECUTOR": (
        READS
        | KEYS
        | {"cmd.*.*", "evt.*.*", "blob.*.*", "$KV.LEASE.*.*", "$KV.LEASE.*.*.*", "$JS.ACK.LOG.>"}
        | {"$JS.API.STREAM.MSG.GET.KV_LEASE", "$JS.API.STREAM.MSG.DELETE.KV_LEASE"}
        | {"$JS.API.CONSUMER.CREATE.LOG.*.cmd.*.*"},
        {"evt._access.*"},
        {"live.>", "_INBOX_executor.>"},
    ),
    "BRIDGE": (
        READS
        | KEYS
        | {"cmd.*.*", "evt.*._key.*", "evt.*._push.*", "evt._access.*", "gossip.*", "blob.*.*"}
        | {"$KV.LEASE._push.*", "$JS.API.STREAM.MSG.GET.KV_LEASE"}
        | {"$JS.API.STREAM.MSG.DELETE.KV_LEASE"},
        set(),
        {"live.>", "gossip.*", "_INBOX_bridge.>"},
    ),
    "PROJECTOR": (READS, set(), {"live.>", "_INBOX_projector.>"}),
    "AGENT_TRANSLATOR": (
        {"evt.translator.*", "blob.*.*", "$KV.LEASE.translator.*", "$KV.LEASE.translator.*.*"}
        | {"$JS.API.DIRECT.GET.LOG", "$JS.API.STREAM.MSG.GET.LOG"}
        | {"$JS.API.DIRECT.GET.BLOBS.blob.*.*", "$JS.API.STREAM.MSG.DELETE.KV_LEASE"}
        | {"$JS.API.CONSUMER.CREATE.LOG.bells-translator.cmd.translator.*"}
        | {"$JS.API.CONSUMER.MSG.NEXT.LOG.bells-translator", "$JS.ACK.LOG.bells-translator.>"},
        set(),
        {"live.*.translator.*", "_INBOX_translator.>"},
    ),
}
"""What each role may publish, what of it it may not, and what it may hear."""


@pytest.mark.accepts("AS-41", "S5", "S26")
def test_service_accounts_hold_the_permissions_that_are_listed_and_no_other() -> None:
    """Another permission is two changes, so that somebody asks what it is for."""

    def named(text: str, place: str) -> set[str]:
        found = re.search(rf"{place}: \[(.*?)\]", text, re.DOTALL)
        return set(re.findall(r'"([^"]+)"', found[1])) if found else set()

    text = test_deployment.directives(test_deployment.CONFIGURATION)
    blocks = dict(re.findall(r"^([A-Z_]+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))
    held: dict[str, tuple[set[str], set[str], set[str]]] = {}
    for role, block in blocks.items():
        publish, _, subscribe = block.partition("subscribe:")
        held[role] = named(publish, "allow"), named(publish, "deny"), named(subscribe, "allow")
    assert held == LISTED
    users = re.findall(r"user: ([\w-]+), password: \$\w+(?:, permissions: \$(\w+))?", text)
    assert {user for user, role in users if not role} == {"sys"}
    assert {role for _, role in users if role} == set(LISTED)


@pytest.mark.accepts("AS-2", "S5")
@pytest.mark.parametrize("user", ["globex", "globex-bridge", "globex-executor"])
async def test_no_server_does_for_one_tenant_what_that_may_not_do_to_another(
    provisioned: Mapping[str, str], user: str
) -> None:
    """Reply-to injection: the server answers where it is told to, under no permission at all.

    But in the account of whoever asked. So do consumers that push, and mirrors.
    """
    mark = secrets.token_hex(4)
    async with peer(provisioned, "acme") as acme, peer(provisioned, user) as other:
        heard: list[Msg] = []

        async def remember(heard_now: Msg) -> None:
            heard.append(heard_now)

        for pattern in (f"evt.{mark}.*", f"cmd.{mark}.*", f"live.*.{mark}.*", f"_INBOX_{mark}.>"):
            await acme.client.subscribe(pattern, cb=remember)
        before = await last(acme)
        stored = json.dumps({"seq": 1}).encode()
        for target in (f"evt.{mark}.x", f"cmd.{mark}.x", f"live.evt.{mark}.x", f"_INBOX_{mark}.x"):
            for api in ("STREAM.INFO.LOG", "STREAM.MSG.GET.LOG", "DIRECT.GET.LOG"):
                await other.client.publish(f"$JS.API.{api}", stored, reply=target)
            push = {"name": f"push{mark}", "deliver_subject": target, "deliver_policy": "all"}
            await other.client.publish(
                f"$JS.API.CONSUMER.CREATE.LOG.push{mark}",
                json.dumps({"stream_name": "LOG", "config": push}).encode(),
                reply=target,
            )
        if user == "globex":
            for extra in ({"mirror": {"name": "LOG"}}, {"sources": [{"name": "LOG"}]}):
                config = {"name": f"COPY{mark}", "storage": "memory", **extra}
                request = json.dumps(config).encode()
                await other.client.request(f"$JS.API.STREAM.CREATE.COPY{mark}", request)
                copied = await other.client.request(f"$JS.API.STREAM.INFO.COPY{mark}", b"")
                theirs = json.loads(copied.data)["state"]["messages"]
                own = json.loads((await other.client.request("$JS.API.STREAM.INFO.LOG")).data)
                assert theirs <= own["state"]["messages"], "copied from the other tenant"
                await other.client.request(f"$JS.API.STREAM.DELETE.COPY{mark}")
        for each in (other, acme):
            await each.client.flush()
        own_answers = await other.client.request("$JS.API.STREAM.INFO.LOG", b"")
        assert b"state" in own_answers.data  # all that was asked before has been answered
        assert await last(acme) == before
        assert heard == []


async def last(owner: Any) -> int:
    """Return the last sequence of an account's log."""
    answer = await owner.client.request("$JS.API.STREAM.INFO.LOG", b"")
    return int(json.loads(answer.data)["state"]["last_seq"])


@pytest.mark.accepts("S5")
async def test_inside_a_tenant_roles_are_no_wall(provisioned: Mapping[str, str]) -> None:
    """Why a tenant is an account: a bridge, which may not write events, can have it done.

    When this fails, nats-server has learnt to check reply subjects: say so in nats.conf.
    """
    mark = secrets.token_hex(4)
    async with peer(provisioned, "acme") as acme, peer(provisioned, "acme-bridge") as bridge:
        ack = json.loads((await bridge.client.request(f"cmd.{mark}.x", b"forged")).data)
        question = json.dumps({"seq": ack["seq"]}).encode()
        await bridge.client.publish("$JS.API.DIRECT.GET.LOG", question, reply=f"evt.{mark}.x")
        await bridge.client.flush()
        async with asyncio.timeout(5):
            while True:
                question = json.dumps({"last_by_subj": f"evt.{mark}.x"}).encode()
                answer = json.loads(
                    (await acme.client.request("$JS.API.STREAM.MSG.GET.LOG", question)).data
                )
                if "message" in answer:
                    break
        assert base64.b64decode(answer["message"]["data"]) == b"forged"
