"""Logging in by every means that a NATS server knows, and TLS; what is wrong is told at once."""

# The package nkeys has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import nkeys  # type: ignore[import-untyped]
import pytest

from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.log import LogError, LogMisconfigured
from pelton.runtime.server import EmbeddedServer

HASTY = replace(RELAXED, deadline=5.0)
AT_ONCE = 2.0
"""Seconds: well before the deadline, however slow the machine."""


@dataclass(frozen=True)
class Nkey:
    """A key pair of NATS."""

    seed: str
    public: str
    pair: Any


def nkey(prefix: int) -> Nkey:
    seed = nkeys.encode_seed(os.urandom(32), prefix)
    pair = nkeys.from_seed(bytearray(seed))
    return Nkey(seed.decode(), str(cast("Any", pair).public_key.decode()), pair)


async def works(url: str | list[str], credentials: Path | None = None) -> None:
    async with JetStreamLog.open(url, profile=HASTY, credentials=credentials) as log:
        assert await log.append("cmd.echo.c1", b"hello", id="1") == 1
        assert [record.data for record in await log.read("cmd.echo.c1")] == [b"hello"]


async def refused(url: str, *, says: str, credentials: Path | None = None) -> None:
    """Find the login refused, at once, in words that hold no secret and no place."""
    begin = time.monotonic()
    with pytest.raises(LogError, match=says) as error:
        await works(url, credentials)
    assert type(error.value) is LogMisconfigured
    assert time.monotonic() - begin < AT_ONCE
    for secret in ("secret", "wrong", str(credentials), "127.0.0.1"):
        assert secret not in str(error.value)


@contextlib.asynccontextmanager
async def serving(data: Path, extra: str) -> AsyncGenerator[str]:
    async with EmbeddedServer(data, profile=RELAXED, extra=extra) as server:
        yield server.address


async def test_user_and_password(tmp_path: Path) -> None:
    users = 'authorization { users: [ { user: "a b", password: "p@ss/w:rd%" } ] }'
    async with serving(tmp_path, users) as address:
        await works(f"nats://a%20b:p%40ss%2Fw%3Ard%25@{address}")
        await refused(f"nats://a%20b:wrong@{address}", says="refuses these credentials")
        await refused(f"nats://nobody:wrong@{address}", says="refuses these credentials")
        await refused(f"nats://{address}", says="refuses these credentials")


async def test_a_token(tmp_path: Path) -> None:
    async with serving(tmp_path, "authorization { token: secret_token }") as address:
        await works(f"nats://secret_token@{address}")
        await refused(f"nats://wrong@{address}", says="refuses these credentials")


async def test_one_user_for_all_servers_of_a_cluster(nats_url: str) -> None:
    other = nats_url.replace(":secret@", ":wrong@")
    with pytest.raises(LogMisconfigured, match="same user"):
        await works([nats_url, other])
    await works([nats_url, f"nats://{nats_url.rpartition('@')[2]}"])


async def test_the_seed_of_an_nkey(tmp_path: Path) -> None:
    user, other, account = (
        nkey(nkeys.PREFIX_BYTE_USER),
        nkey(nkeys.PREFIX_BYTE_USER),
        nkey(nkeys.PREFIX_BYTE_ACCOUNT),
    )
    file = tmp_path / "user.nk"
    async with serving(
        tmp_path / "nats", f"authorization {{ users: [ {{ nkey: {user.public} }} ] }}"
    ) as address:
        url = f"nats://{address}"
        for text in (user.seed, f"{user.seed}\n", f" {user.seed}\r\n"):
            file.write_text(text)
            await works(url, file)
        for seed in (other.seed, account.seed):
            file.write_text(seed)
            await refused(url, credentials=file, says="refuses these credentials")
        await refused(url, says="refuses these credentials")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SUnonsense",
        b"\xff\xfe\x00",
        b"-----BEGIN NATS USER JWT-----\n",
        b"-----BEGIN USER NKEY SEED-----\nSUnonsense\n------END USER NKEY SEED------\n",
        b"-----BEGIN NATS USER JWT-----\nx\n-----END\n-----BEGIN USER NKEY SEED-----\nSUx\n-----\n",
    ],
    ids=["empty", "no seed", "binary", "no end", "no jwt", "no seed in it"],
)
async def test_a_file_that_holds_no_credentials(
    tmp_path: Path, nats_url: str, content: bytes
) -> None:
    file = tmp_path / "secret.creds"
    file.write_bytes(content)
    await refused(nats_url, credentials=file, says="holds neither")


async def test_a_file_that_is_not_there(tmp_path: Path, nats_url: str) -> None:
    await refused(nats_url, credentials=tmp_path / "secret.creds", says="cannot be read: No such")


def jwt(issuer: Nkey, subject: Nkey, name: str, nats: dict[str, Any], **claims: Any) -> str:
    """Return a JWT as NATS wants it: signed by an nkey, with its own hash as its id."""

    def encoded(part: object) -> str:
        text = json.dumps(part, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    body = {"iat": int(time.time()), "iss": issuer.public, "sub": subject.public, "name": name}
    body |= {"nats": {**nats, "version": 2}, **claims}
    digest = hashlib.sha256(json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    signed = f"{encoded({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{encoded(body)}"
    signature = base64.urlsafe_b64encode(issuer.pair.sign(signed.encode())).rstrip(b"=").decode()
    return f"{signed}.{signature}"


CREDS = """-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

************************* IMPORTANT *************************
-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""
UNLIMITED = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
STORAGE = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


async def test_a_creds_file(tmp_path: Path) -> None:
    """A server in operator mode knows no users: the account's key vouches for them."""
    operator = nkey(nkeys.PREFIX_BYTE_OPERATOR)
    system, tenant = nkey(nkeys.PREFIX_BYTE_ACCOUNT), nkey(nkeys.PREFIX_BYTE_ACCOUNT)
    limits = {"type": "account", "limits": UNLIMITED | {"wildcards": True}}
    with_storage = {"type": "account", "limits": UNLIMITED | STORAGE | {"wildcards": True}}
    extra = f"""
authorization {{}}
operator: {jwt(operator, operator, "o", {"type": "operator", "system_account": system.public})}
system_account: {system.public}
resolver: MEMORY
resolver_preload {{
  {system.public}: {jwt(operator, system, "SYS", limits)}
  {tenant.public}: {jwt(operator, tenant, "acme", with_storage)}
}}
"""
    file = tmp_path / "user.creds"

    def write(issuer: Nkey, **claims: Any) -> None:
        user = nkey(nkeys.PREFIX_BYTE_USER)
        claim = {"type": "user", "subs": -1, "data": -1, "payload": -1}
        file.write_text(CREDS.format(jwt=jwt(issuer, user, "u", claim, **claims), seed=user.seed))

    async with serving(tmp_path / "nats", extra) as address:
        url = f"nats://{address}"
        write(tenant)
        await works(url, file)
        write(nkey(nkeys.PREFIX_BYTE_ACCOUNT))
        await refused(url, credentials=file, says="refuses these credentials")
        write(tenant, exp=int(time.time()) - 10)
        await refused(url, credentials=file, says="refuses these credentials")
        write(system)
        await refused(url, credentials=file, says="JetStream")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with an authority `ca`, and certificates `server` and `stranger` of it."""
    if shutil.which("openssl") is None:
        pytest.skip("NOT PROVED HERE: no openssl on this machine, TLS was not tried")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for ca in ("ca", "other"):
        openssl(
            *("req", "-x509", *key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", "2"),
            *("-subj", f"/CN={ca}", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
    for name, alternative in (("server", "IP:127.0.0.1"), ("stranger", "DNS:elsewhere.example")):
        (folder / "ext").write_text(f"subjectAltName={alternative}\n")
        openssl("req", *key, "-keyout", f"{name}.key", "-out", "csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2"),
            *("-CAcreateserial", "-extfile", "ext", "-out", f"{name}.pem"),
        )
    return folder


def tls(certificates: Path, name: str, more: str = "") -> str:
    cert, key = (json.dumps(str(certificates / f"{name}.{kind}")) for kind in ("pem", "key"))
    users = "authorization { users: [ { user: u, password: secret } ] }"
    return f"tls {{ cert_file: {cert}, key_file: {key}{more} }}\n{users}"


@pytest.mark.accepts("S26")
async def test_tls(tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, tls(certificates, "server")) as address:
        url = f"tls://u:secret@{address}"
        await refused(url, says="certificate is not accepted.*SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "other.pem"))
        await refused(url, says="certificate is not accepted.*SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        await works(url)
        await works(url.replace("tls://", "nats://"))
        await refused(f"tls://u:wrong@{address}", says="refuses these credentials")


@pytest.mark.accepts("S26")
async def test_a_server_that_shows_another_name(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    async with serving(tmp_path, tls(certificates, "stranger")) as address:
        await refused(f"tls://u:secret@{address}", says="not for the host in the URL")


@pytest.mark.accepts("S26")
async def test_a_server_that_wants_a_certificate_of_ours(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We have none to show: the user is told, and not that no server is running."""
    ca = certificates / "ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    mutual = tls(certificates, "server", f", ca_file: {json.dumps(str(ca))}, verify: true")
    async with serving(tmp_path, mutual) as address:
        await refused(f"tls://u:secret@{address}", says="wants a TLS certificate")


@pytest.mark.accepts("S26")
async def test_no_password_is_sent_in_the_clear_to_whom_tls_is_asked_of(nats_url: str) -> None:
    await refused(nats_url.replace("nats://", "tls://"), says="asks for TLS")
