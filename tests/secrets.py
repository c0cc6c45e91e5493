"""Two corpora: what must never be stored, and what must stay as it is (AS-40).

Nothing here was ever a secret: letters and digits are written out of order by a rule, with what the
issuers of real ones put in front of them.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from typing import Final

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


_calls: Final = itertools.count()


def letters(count: int, alphabet: str = _ALPHABET) -> str:
    """Return so many letters that look drawn by chance: others at each call, alike in each run."""
    digest = hashlib.sha512(str(next(_calls)).encode()).digest()
    while len(digest) < count:
        digest += hashlib.sha512(digest).digest()
    return "".join(alphabet[byte % len(alphabet)] for byte in digest[:count])


def hexes(count: int) -> str:
    return letters(count, "0123456789abcdef")


def uppers(count: int) -> str:
    return letters(count, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _pem(label: str) -> str:
    lines = "\n".join(letters(64) for _ in range(4))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"


_JWT: Final = ".".join((_base64('{"alg":"HS256"}'), _base64('{"sub":"anna"}'), letters(43)))
_BASIC: Final = base64.b64encode(f"anna:{letters(12)}".encode()).decode()

PREFIXED: Final[dict[str, str]] = {
    "pelton-key": f"pelton_{hexes(16)}_{letters(43)}",
    "pelton-key refresh": f"peltonr_{hexes(32)}_{letters(43)}",
    "github-token": f"ghp_{letters(36)}",
    "github-token app": f"ghs_{letters(36)}",
    "github-token fine": f"github_pat_{letters(22)}_{letters(59)}",
    "gitlab-token": f"glpat-{letters(20)}",
    "stripe-key": "sk_" + f"live_{letters(24)}",
    "stripe-key restricted": "rk_" + f"test_{letters(24)}",
    "webhook-secret": f"whsec_{letters(32)}",
    "groq-key": f"gsk_{letters(52)}",
    "huggingface-token": f"hf_{letters(34)}",
    "replicate-token": f"r8_{letters(37)}",
    "fireworks-key": f"fw_{letters(24)}",
    "langsmith-key": f"lsv2_pt_{hexes(32)}_{hexes(10)}",
    "pinecone-key": f"pcsk_{letters(60)}",
    "npm-token": f"npm_{letters(36)}",
    "rubygems-key": f"rubygems_{hexes(48)}",
    "docker-token": f"dckr_pat_{letters(27)}",
    "digitalocean-token": f"dop_v1_{hexes(64)}",
    "linear-key": f"lin_api_{letters(40)}",
    "notion-token": f"ntn_{letters(46)}",
    "shopify-token": f"shpat_{hexes(32)}",
    "grafana-token": f"glsa_{letters(32)}_{hexes(8)}",
    "sentry-token": f"sntryu_{hexes(64)}",
    "figma-token": f"figd_{letters(40)}",
    "supabase-key": f"sbp_{hexes(40)}",
    "planetscale-token": f"pscale_tkn_{letters(43)}",
    "onepassword-token": f"ops_eyJ{letters(80)}",
    "resend-key": f"re_{letters(8)}_{letters(24)}",
    "fly-token": f"fm2_{letters(80)}",
    "circleci-token": f"CCIPAT_{letters(22)}_{hexes(40)}",
    "buildkite-token": f"bkua_{hexes(40)}",
    "anthropic-key": f"sk-ant-api03-{letters(93)}-{letters(6)}AA",
    "anthropic-key oauth": f"sk-ant-oat01-{letters(93)}",
    "openrouter-key": f"sk-or-v1-{hexes(64)}",
    "langfuse-key": "sk-lf-0192f5c1-7a34-4c3e-9c0a-2f6f0b1d2e3f",
    "openai-key": f"sk-{letters(20)}T3BlbkFJ{letters(20)}",
    "openai-key project": f"sk-proj-{letters(60)}_{letters(40)}-{letters(20)}",
    "openai-key deepseek": f"sk-{hexes(32)}",
    "slack-token": f"xoxb-123456789012-1234567890123-{letters(24)}",
    "slack-token app": f"xapp-1-A0123456789-1234567890123-{hexes(64)}",
    "google-client-secret": f"GOCSPX-{letters(28)}",
    "xai-key": f"xai-{letters(80)}",
    "perplexity-key": f"pplx-{letters(48)}",
    "nvidia-key": f"nvapi-{letters(64)}",
    "cerebras-key": f"csk-{hexes(48)}",
    "tavily-key": f"tvly-dev-{letters(32)}",
    "pypi-token": f"pypi-AgEIcHlwaS5vcmc{letters(70)}",
    "mailgun-key": f"key-{hexes(32)}",
    "newrelic-key": f"NRAK-{uppers(27)}",
    "postman-key": f"PMAK-{hexes(24)}-{hexes(34)}",
    "tailscale-key": f"tskey-auth-{letters(17)}-{letters(32)}",
    "square-token": f"sq0atp-{letters(22)}",
    "age-key": f"AGE-SECRET-KEY-1{uppers(58)}",
    "jwt": _JWT,
    "jwt encrypted": ".".join((_base64('{"alg":"dir"}'), "", *(letters(16) for _ in range(3)))),
    "sendgrid-key": f"SG.{letters(22)}.{letters(43)}",
    "vault-token": f"hvs.{letters(24)}",
    "terraform-token": f"{letters(14)}.atlasv1.{letters(67)}",
    "google-access-token": f"ya29.{letters(60)}",
    "doppler-token": f"dp.pt.{letters(43)}",
    "airtable-token": f"pat{letters(14)}.{hexes(64)}",
    "dropbox-token": f"sl.{letters(130)}",
    "discord-token": f"M{letters(25)}.{letters(6)}.{letters(38)}",
    "aws-access-key": f"AKIA{uppers(16)}",
    "aws-access-key session": f"ASIA{uppers(16)}",
    "google-api-key": f"AIza{letters(35)}",
    "atlassian-token": f"ATATT3{letters(180)}=0A1B2C3D",
    "nats-seed": f"SU{uppers(56)}",
    "nats-seed account": f"SA{uppers(56)}",
    "twilio-key": f"SK{hexes(32)}",
    "databricks-token": f"dapi{hexes(32)}",
    "azure-client-secret": f"abc8Q~{letters(34)}",
    "telegram-token": f"1234567890:AA{letters(33)}",
    "google-refresh-token": f"1//0{letters(60)}",
    "private-key": _pem("RSA PRIVATE KEY"),
    "private-key pkcs8": _pem("PRIVATE KEY"),
    "private-key openssh": _pem("OPENSSH PRIVATE KEY"),
    "private-key pgp": _pem("PGP PRIVATE KEY BLOCK"),
    "private-key escaped": _pem("EC PRIVATE KEY").replace("\n", "\\n"),
    "private-key nats": _pem("USER NKEY SEED").replace("-----END", "------END") + "-",
}
"""Secrets that are known wherever they stand, by what they are called here up to a space."""

CONTEXTS: Final[dict[str, tuple[str, str]]] = {
    "url-password": ("postgres://anna:{}@db.example:5432/shop", letters(12)),
    "url-password redis": ("redis://:{}@cache:6379/0", letters(16)),
    "url-password nats": ("nats://user:{}@127.0.0.1:4222", letters(10)),
    "bearer-token": ("Authorization: Bearer {}", letters(40)),
    "basic-credentials": ("Authorization: Basic {}", _BASIC),
    "authorization": ("curl -H 'Authorization: Token {}' https://api.example", letters(32)),
    "api-key": ("X-Api-Key: {}", letters(32)),
    "api-key env": ("export ACME_API_KEY={}", letters(32)),
    "api-key json": ('{{"apiKey": "{}"}}', letters(32)),
    "api-key uuid": ("api_key = '{}'", "0192f5c1-7a34-4c3e-9c0a-2f6f0b1d2e3f"),
    "secret aws": ("aws_secret_access_key = {}", letters(38) + "/+"),
    "secret aws json": ('"SecretAccessKey": "{}",', letters(40)),
    "secret client": ("client_secret={}", letters(40)),
    "secret escaped": ('{{\\"client_secret\\": \\"{}\\"}}', letters(40)),
    "api-key azure": ("DefaultEndpointsProtocol=https;AccountKey={}==", letters(86)),
    "password": ("password={}", "hunter2-canary"),
    "password yaml": ("  db_password: {}", letters(12)),
    "password json": ('{{"passwd": "{}"}}', letters(12)),
    "password query": ("https://x.example/login?user=a&password={}", letters(12)),
    "token": ("GITHUB_TOKEN={}", hexes(40)),
    "token refresh": ('"refresh_token":"{}"', letters(40)),
    "token query": ("https://x.example/a?access_token={}", letters(40)),
    "cookie": ("Cookie: {}", f"session={letters(32)}"),
    "cookie set": ("set-cookie: {}", f"sid={letters(32)}"),
    "signed-url": ("https://b.s3.amazonaws.com/k?X-Amz-Signature={}", hexes(64)),
    "signed-url azure": ("https://a.blob.core.windows.net/c?sv=1&sig={}", letters(43) + "%3D"),
    "webhook-url": (
        "https://hooks.slack.com/services/{}",
        f"T0{uppers(8)}/B0{uppers(8)}/{letters(24)}",
    ),
    "webhook-url discord": ("https://discord.com/api/webhooks/123456789012345678/{}", letters(68)),
    "private-jwk": ('{{"kty": "OKP", "crv": "Ed25519", "d": "{}"}}', letters(43)),
}
"""Secrets that are known by what they stand in."""

MEMBERS: Final[dict[str, tuple[str, str]]] = {
    "password": ("password", "tr0ub4dor"),
    "password words": ("db_password", "correct horse battery staple"),
    "api-key": ("x-api-key", letters(24)),
    "token": ("accessToken", letters(30)),
    "secret": ("client_secret", letters(30)),
    "authorization": ("Authorization", f"Digest {letters(24)}"),
    "cookie": ("Set-Cookie", f"sid={letters(24)}"),
}
"""Secrets that are known by the member of JSON that they are the value of."""

SECRETS: Final[dict[str, str]] = {
    **PREFIXED,
    **{name: secret for name, (_, secret) in CONTEXTS.items()},
}

TEXTS: Final[dict[str, str]] = {
    **{name: f"here is {secret} as agreed" for name, secret in PREFIXED.items()},
    **{name: form.format(secret) for name, (form, secret) in CONTEXTS.items()},
}
"""A text for each secret that it is in."""

_PICTURE: Final = bytes(range(256)) * 40

HARMLESS: Final[dict[str, str]] = {
    "uuid": "0192f5c1-7a34-7c3e-9c0a-2f6f0b1d2e3f",
    "uuid upper": "550E8400-E29B-41D4-A716-446655440000",
    "ulid": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "md5": hexes(32),
    "sha1": hexes(40),
    "sha256": hashlib.sha256(b"").hexdigest(),
    "sha512": hashlib.sha512(b"").hexdigest(),
    "digest": f"sha256:{hexes(64)}",
    "integrity": "sha512-" + base64.b64encode(hashlib.sha512(b"").digest()).decode(),
    "etag": f'ETag: W/"{hexes(32)}"',
    "traceparent": f"00-{hexes(32)}-{hexes(16)}-01",
    "commit": f"commit {hexes(40)}",
    "pelton ids": f"c-0192f5c1-7a34-7c3e-9c0a-2f6f0b1d2e3f-{hexes(16)}",
    "picture": base64.b64encode(_PICTURE).decode(),
    "picture for urls": base64.urlsafe_b64encode(_PICTURE).decode(),
    "picture in a page": f"data:image/png;base64,{base64.b64encode(_PICTURE[:600]).decode()}",
    "path": "/var/lib/pelton/tokens/secret_store/passwords.db",
    "path windows": r"C:\Users\anna\AppData\Local\Programs\token-store\keys.json",
    "path module": "tests/test_a_revoked_key_takes_its_tokens_along.py::test_secret_of_a_key",
    "url": "https://example.com/a/b?page=2&sort=name#section-about-the-tokens",
    "url user": "ssh://git@github.com:22/acme/shop.git",
    "url port": "http://localhost:8080/@anna",
    "url placeholder": "postgres://user:${PASSWORD}@host/db and nats://user:<password>@host",
    "mail": "anna.smith+token@example.com",
    "times": "2026-11-27T15:41:08.123Z and 20261127T154108Z",
    "address": "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    "mac": "00:1A:2B:3C:4D:5E",
    "account number": "arn:aws:iam::123456789012:role/service-role/my-long-role-name",
    "secret by name": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf",
    "public key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + letters(43),
    "certificate": _pem("CERTIFICATE"),
    "public pem": _pem("PUBLIC KEY"),
    "public jwk": json.dumps({"kty": "OKP", "crv": "Ed25519", "x": letters(43), "kid": hexes(16)}),
    "stripe public": f"pk_live_{letters(24)}",
    "nats public": f"UA{uppers(54)}",
    "page token": json.dumps({"next_page_token": letters(40), "nextPageToken": letters(40)}),
    "counts": json.dumps({"input_tokens": 1200, "max_tokens": 4096, "token": None}),
    "code": "def login(password: str, *, api_key: str | None = None) -> Token: ...",
    "code env": 'api_key = os.environ["ACME_API_KEY"]; token = get_token(); pwd = os.getcwd()',
    "code name": "self.password = config.database.password; token=settings.auth.token_source",
    "schema": json.dumps({"password": {"type": "string"}, "token": {"type": "string"}}),
    "prose": "Bearer tokens and basic authentication are explained below: password, secret, key.",
    "prose colon": "Secret: nobody knows. Token: a thing of value. Password: required.",
    "css": "sk-loading-spinner-container-with-a-long-name and task-0123456789abcdefghijkl",
    "snake": "this_is_a_rather_long_snake_case_name_for_a_function_of_tests",
    "kebab": "a-very-long-kebab-case-name-of-a-component-in-a-page",
    "version": "nats-server-2.15.1-linux-amd64.tar.gz",
    "semver": "1.2.3-alpha.1+build.20261127.abcdef0",
    "base32": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    "other letters": "пароль и ключ: 密码是秘密 🗝️ İstanbul Straße",
    "marker": "(redacted:github-token) stays",
}
"""What looks like a secret to somebody in a hurry, and is none."""
