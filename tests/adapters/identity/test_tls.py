"""TLS of the bridge, and clients that show a certificate (S3)."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from pelton.adapters.a2a.tls import Tls, open_tls
from pelton.adapters.cli.client import serves
from pelton.adapters.cli.output import CommandFailed
from pelton.adapters.identity.authenticator import Admission
from pelton.events.principal import holder
from pelton.runtime.auth_settings import TlsSettings
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.settings import SettingsError
from tests.adapters.identity.certificates import Authority
from tests.adapters.identity.people import ACME, Town, town

ROBOT = "URI:spiffe://acme/robot"
pytestmark = pytest.mark.accepts("S3")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest_asyncio.fixture
async def place(
    logs: Mapping[str, JetStreamLog], tmp_path: Path, authority: Authority
) -> AsyncIterator[Town]:
    robot = holder(ROBOT, ACME, ("agent",), ())
    admission = Admission(keys=True, anyone=None, certificates={ROBOT: robot})
    tls = Tls(*authority.vouch("server", "IP:127.0.0.1"), authority.ca)
    async with town(logs, tmp_path, admission, tls=tls) as found:
        yield found


def shown(authority: Authority, *files: Path) -> httpx.AsyncClient:
    context = ssl.create_default_context(cafile=authority.ca)
    if files:
        context.load_cert_chain(files[0], files[1])
    return httpx.AsyncClient(verify=context)


async def status(place: Town, authority: Authority, *files: Path) -> int:
    async with shown(authority, *files) as client:
        headers = {"A2A-Version": "1.0"}
        return (await client.get(f"{place.url}/echo/tasks", headers=headers)).status_code


async def test_a_client_is_who_its_certificate_says(place: Town, authority: Authority) -> None:
    files = authority.vouch("robot", ROBOT, "DNS:robot.example")
    assert await status(place, authority, *files) == 200
    async with shown(authority, *files) as client:
        card = await client.get(f"{place.url}/acme/echo/.well-known/agent-card.json")
        assert card.json()["securitySchemes"]["certificate"] == {"mtlsSecurityScheme": {}}


async def test_a_socket_is_who_its_certificate_says(place: Town, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(*authority.vouch("robot", ROBOT))
    url = f"{place.url.replace('https', 'wss')}/echo/tasks/nope:subscribe"
    for tls, reason in (
        (context, "TASK_NOT_FOUND"),
        (ssl.create_default_context(cafile=authority.ca), "AUTH_DENIED"),
    ):
        async with asyncio.timeout(10), connect(url, ssl=tls) as connection:
            error = json.loads(await connection.recv())["error"]
            assert error["details"][0]["reason"] == reason


@pytest.mark.parametrize(
    ("alternatives", "common"),
    [
        ((), "spiffe://acme/robot"),
        ((), ROBOT),
        (("URI:spiffe://acme/robot2",), "x"),
        (("URI:spiffe://acme/robo",), "x"),
        (("URI:SPIFFE://acme/robot",), "x"),
        (("DNS:spiffe.acme.robot",), "x"),
        (("DNS:robot",), "x"),
    ],
)
async def test_only_the_exact_alternative_name_counts(
    place: Town, authority: Authority, alternatives: tuple[str, ...], common: str
) -> None:
    files = authority.vouch("other", *alternatives, common=common)
    assert await status(place, authority, *files) == 401


async def test_without_a_certificate_a_key_is_wanted(place: Town, authority: Authority) -> None:
    assert await status(place, authority) == 401


async def test_certificates_that_are_not_good_get_no_connection(
    place: Town, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    stranger = Authority(tmp_path / "b", name="ca")
    for files in (
        stranger.vouch("robot", ROBOT),
        authority.vouch("late", ROBOT, days=-1),
    ):
        with pytest.raises(httpx.TransportError):
            await status(place, authority, *files)
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(place.url.replace("https", "http"))


async def test_whoever_starts_a_bridge_trusts_its_own_certificate(
    place: Town, authority: Authority, tmp_path: Path
) -> None:
    """As `pelton dev` does, though no authority of this machine knows it; and trusts no other."""

    async def asked(certificate: Path) -> bool:
        ask = partial(serves, place.url, {"echo"}, certificate=str(certificate))
        return await asyncio.to_thread(ask)

    assert await asked(tmp_path / "server.pem")
    another, _ = authority.vouch("another", "IP:127.0.0.1")
    with pytest.raises(CommandFailed, match="cannot be reached"):
        await asked(another)


async def test_a_renewed_certificate_is_taken_up(authority: Authority) -> None:
    files = authority.vouch("server", "IP:127.0.0.1")
    tls = Tls(*files, None)
    before = tls.context.cert_store_stats()
    files[0].write_text("rubbish")
    tls.look()
    authority.vouch("server", "IP:127.0.0.1")
    tls.look()
    tls.look()
    assert tls.context.cert_store_stats() == before


def test_files_that_cannot_be_used_are_said(tmp_path: Path, authority: Authority) -> None:
    assert open_tls(TlsSettings()) is None
    certificate, key = authority.vouch("server", "IP:127.0.0.1")
    _, other = authority.vouch("other", "IP:127.0.0.1")
    assert open_tls(TlsSettings(certificate=str(certificate), key=str(key))) is not None
    for given in (
        TlsSettings(key=str(key)),
        TlsSettings(certificate=str(certificate), key=str(other)),
        TlsSettings(certificate=str(tmp_path / "none"), key=str(key)),
        TlsSettings(certificate=str(certificate), key=str(key), client_ca=str(key)),
    ):
        with pytest.raises(SettingsError, match="tls"):
            open_tls(given)
