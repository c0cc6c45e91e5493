"""The kinds of secrets that are known by how they are written, and how they are found quickly.

Most secrets begin with what their issuer puts in front of every one: those are *prefixed* kinds. To
look for all kinds at every letter of every text would cost too much: a *screen* is a search that is
quick, as it looks for one letter first, and only where it finds something the kinds are looked for.
Patterns are open at their end, so that of a text that grows, what may become a secret can be told.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple


class Kind(NamedTuple):
    """A kind of secret: the group `secret` of its pattern is what must not stay, or all of it.

    `check` tells of what the pattern has found whether it is one after all.
    """

    name: str
    about: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] | None = None


class Screen(NamedTuple):
    """A quick search, and the kinds that are looked for if it finds something.

    With `lowered`, it and its kinds look at the text in lower case. One that is `plain` finds
    something in texts without a colon and an equals sign too.
    """

    pattern: re.Pattern[str]
    kinds: tuple[Kind, ...]
    lowered: bool = False
    plain: bool = False


_WORD: Final = r"[A-Za-z0-9_-]"


def _kinds(*rows: tuple[str, str, str]) -> tuple[Kind, ...]:
    return tuple(Kind(name, about, re.compile(source, re.ASCII)) for name, about, source in rows)


PREFIXED: Final = _kinds(
    ("pelton-key", "API keys and refresh tokens of pelton", r"peltonr?_[0-9a-f]{16,}_[\w-]{32,}"),
    ("github-token", "GitHub", r"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})"),
    ("stripe-key", "Stripe, Clerk and others", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("webhook-secret", "Standard Webhooks", r"whsec_[A-Za-z0-9+/=_-]{16,}"),
    ("groq-key", "Groq", r"gsk_[A-Za-z0-9]{32,}"),
    ("huggingface-token", "Hugging Face", r"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    ("replicate-token", "Replicate", r"r8_[A-Za-z0-9]{30,}"),
    ("fireworks-key", "Fireworks", r"fw_[A-Za-z0-9]{22,}"),
    ("langsmith-key", "LangSmith", r"lsv2_(?:pt|sk)_[0-9a-f_]{32,}"),
    ("pinecone-key", "Pinecone", r"pcsk_\w{40,}"),
    ("npm-token", "npm", r"npm_[A-Za-z0-9]{30,}"),
    ("rubygems-key", "RubyGems", r"rubygems_[0-9a-f]{40,}"),
    ("docker-token", "Docker Hub", rf"dckr_(?:pat|oat)_{_WORD}{{20,}}"),
    ("digitalocean-token", "DigitalOcean", r"do[opr]_v1_[0-9a-f]{40,}"),
    ("linear-key", "Linear", r"lin_(?:api|oauth)_[A-Za-z0-9]{30,}"),
    ("notion-token", "Notion", r"(?:ntn|secret)_[A-Za-z0-9]{40,}"),
    ("shopify-token", "Shopify", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32,}"),
    ("grafana-token", "Grafana", r"(?:glsa|glc)_[A-Za-z0-9_+/=]{32,}"),
    ("sentry-token", "Sentry", r"sntry[su]_[A-Za-z0-9_+/=-]{40,}"),
    ("figma-token", "Figma", rf"fig[du]_{_WORD}{{30,}}"),
    ("supabase-key", "Supabase", rf"(?:sbp_[0-9a-f]{{40,}}|sb_secret_{_WORD}{{20,}})"),
    ("planetscale-token", "PlanetScale", r"pscale_(?:tkn|pw|oauth)_[\w=.-]{30,}"),
    ("onepassword-token", "1Password", rf"ops_eyJ{_WORD}{{50,}}"),
    ("resend-key", "Resend", r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}"),
    ("fly-token", "Fly.io", r"fm[12]r?_[A-Za-z0-9+/=]{50,}"),
    ("circleci-token", "CircleCI", r"CCIPAT_\w{32,}"),
    ("buildkite-token", "Buildkite", r"bk(?:ua|at|ct)_[0-9a-f]{40,}"),
    ("anthropic-key", "Anthropic", rf"sk-ant-[a-z0-9]{{2,12}}-{_WORD}{{20,}}"),
    ("openrouter-key", "OpenRouter", r"sk-or-v1-[0-9a-f]{32,}"),
    ("langfuse-key", "Langfuse", r"sk-lf-[0-9a-f-]{24,}"),
    (
        "openai-key",
        "OpenAI, DeepSeek and others that write keys alike",
        (
            rf"sk-(?:(?:proj|svcacct|admin|service)-{_WORD}{{20,}}"
            r"|(?=[A-Za-z]{0,63}[0-9])[A-Za-z0-9]{24,})"
        ),
    ),
    ("gitlab-token", "GitLab", rf"gl(?:pat|dt|rt|oas|cbt|ptt|ft|imt|agent|soat)-{_WORD}{{20,}}"),
    ("slack-token", "Slack", r"(?:xox[abceoprs]|xapp)-[0-9A-Za-z-]{16,}"),
    ("google-client-secret", "Google", rf"GOCSPX-{_WORD}{{20,}}"),
    ("xai-key", "xAI", r"xai-[A-Za-z0-9]{40,}"),
    ("perplexity-key", "Perplexity", r"pplx-[A-Za-z0-9]{40,}"),
    ("nvidia-key", "NVIDIA", rf"nvapi-{_WORD}{{40,}}"),
    ("cerebras-key", "Cerebras", r"csk-[a-z0-9]{40,}"),
    ("tavily-key", "Tavily", rf"tvly-{_WORD}{{24,}}"),
    ("pypi-token", "PyPI", rf"pypi-{_WORD}{{50,}}"),
    ("mailgun-key", "Mailgun", r"key-[0-9a-f]{32}"),
    ("newrelic-key", "New Relic", r"NRAK-[A-Z0-9]{20,}"),
    ("postman-key", "Postman", r"PMAK-[0-9a-f-]{32,}"),
    ("tailscale-key", "Tailscale", r"tskey-[A-Za-z0-9-]{24,}"),
    ("square-token", "Square", rf"sq0(?:atp|csp)-{_WORD}{{22,}}"),
    ("age-key", "age", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    (
        "jwt",
        "JSON Web Tokens, signed or encrypted",
        rf"eyJ{_WORD}{{8,}}\.{_WORD}*\.{_WORD}{{8,}}(?:\.{_WORD}*){{0,2}}",
    ),
    ("sendgrid-key", "SendGrid", rf"SG\.{_WORD}{{16,}}\.{_WORD}{{32,}}"),
    ("vault-token", "HashiCorp Vault", rf"hv[sbr]\.{_WORD}{{24,}}"),
    ("terraform-token", "HCP Terraform", rf"atlasv1\.{_WORD}{{60,}}"),
    ("google-access-token", "Google", rf"ya29\.{_WORD}{{20,}}"),
    ("doppler-token", "Doppler", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{40,}"),
    ("airtable-token", "Airtable", r"pat[A-Za-z0-9]{14,}\.[0-9a-f]{32,}"),
    ("dropbox-token", "Dropbox", rf"sl\.(?:u\.)?{_WORD}{{100,}}"),
    ("discord-token", "Discord", rf"[MNO]{_WORD}{{23,}}\.{_WORD}{{6,}}\.{_WORD}{{27,}}"),
    ("aws-access-key", "AWS", r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16,}"),
    ("google-api-key", "Google", rf"AIza{_WORD}{{35,}}"),
    ("atlassian-token", "Atlassian", r"ATATT3[\w=-]{50,}"),
    ("nats-seed", "seeds of NATS keys", r"S[ACNOUX][A-Z2-7]{56,}"),
    ("twilio-key", "Twilio", r"SK[0-9a-f]{32,}"),
    ("databricks-token", "Databricks", r"dapi[0-9a-f]{32,}"),
)

SPACED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"_(?=[A-Za-z0-9_+/=-]{16})",
        r"-(?=[A-Za-z0-9_-]{16})",
        r"\.(?=[A-Za-z0-9_-]{16}|[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{8})",
        r"A(?:KIA|SIA|BIA|CCA|Iza|TATT3)",
        r"S(?=[ACNOUXK][A-Z0-9a-f]{32})",
        r"dapi[0-9a-f]{32}",
    )
)
"""The screens of prefixed kinds: each finds something in the word that is one."""

_SEARCHED: Final = (
    Screen(
        re.compile("-----BEGIN "),
        (
            Kind(
                "private-key",
                "private keys in PEM, of OpenSSH and OpenPGP, and seeds of NATS",
                re.compile(
                    r"-----BEGIN (?P<label>[A-Z0-9 ]{0,40}(?:PRIVATE KEY(?: BLOCK)?|NKEY SEED))"
                    r"-----(?:[^-]{0,32000}-{5,6}END (?P=label)-{5,6}"
                    r"|(?:[A-Za-z0-9+/=\s:,.]|\\[nrt]){0,32000})"
                ),
            ),
        ),
        plain=True,
    ),
    Screen(
        re.compile(r"://[^\s/@]*@"),
        (
            Kind(
                "url-password",
                "what stands before the host of a URL, after a colon",
                re.compile(
                    r"://[^\s/:@\"'<>]{0,256}:(?![$*{<(])(?P<secret>[^\s/@\"'<>()\\]{1,512})"
                    r"@(?=[\w\[])"
                ),
            ),
        ),
    ),
    Screen(
        re.compile(r"/(?=services/|workflows/|triggers/|webhooks/)"),
        (
            Kind(
                "webhook-url",
                "URLs of webhooks of Slack and Discord",
                re.compile(
                    r"(?:hooks\.slack\.com/(?:services|workflows|triggers)"
                    r"|discord(?:app)?\.com/api/webhooks/[0-9]{10,})/(?P<secret>[\w/-]{16,})"
                ),
            ),
        ),
        plain=True,
    ),
    Screen(
        re.compile(r"1//0"),
        _kinds(("google-refresh-token", "Google", rf"1//0{_WORD}{{30,}}")),
        plain=True,
    ),
    Screen(
        re.compile(r":AA"),
        _kinds(("telegram-token", "Telegram", rf"[0-9]{{8,12}}:AA{_WORD}{{30,}}")),
    ),
    Screen(
        re.compile(r"Q~"),
        _kinds(
            (
                "azure-client-secret",
                "Microsoft Entra",
                r"[\w~.-]{3}[0-9]Q~[\w~.-]{31,}",
            )
        ),
        plain=True,
    ),
)

_QUOTE: Final = r"(?:\\?[\"'`])?"
_IS: Final = rf"s?{_QUOTE}\s{{0,4}}(?:=>|:=|[:=])\s{{0,4}}{_QUOTE}"
_VALUE: Final = r"(?P<secret>[^\s\"'`\\,;&(){}\[\]<>|]{8,})"
_PLAIN: Final = re.compile(r"[A-Za-z_.:/-]*|[$%*{].*|[A-Za-z]+://.*|arn:.*", re.DOTALL)
"""What stands after `password =` and is none: words, names of variables, paths, URLs."""

PLACEHOLDERS: Final = frozenset(
    ("string", "required", "optional", "password", "none", "null", "true", "false", "hidden")
)
"""What stands in the place of a password and is none."""


def is_password(text: str) -> bool:
    """Whether what is called a password in a text looks like one."""
    return _PLAIN.fullmatch(text) is None


def is_random(text: str) -> bool:
    """Whether what is called a key or token in a text looks like one."""
    return (
        len(text) >= 16
        and any(letter.isdigit() for letter in text)
        and any(letter.isalpha() for letter in text)
        and _PLAIN.fullmatch(text) is None
    )


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)


def _is_basic(text: str) -> bool:
    """Whether it is a user and a password, as HTTP's basic scheme has them."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False
    user, colon, _ = decoded.partition(b":")
    return bool(colon) and user.isascii() and user.decode().isprintable()


class Family(NamedTuple):
    """Names that are given to secrets of one kind; `name` is a pattern of their end."""

    kind: str
    about: str
    name: str
    check: Callable[[str], bool]


def _after(noun: str, words: Iterable[str], *, sign: str) -> str:
    """Return what holds after a noun if it stands behind one of the words, or with `!` behind none.

    Each is a look behind, since a pattern that begins with a letter is found quickly.
    """
    behind = [rf"(?<{sign}{word}{gap}{noun})" for word in words for gap in ("[_ .-]", "")]
    return "".join(behind) if sign == "!" else f"(?:{'|'.join(behind)})"


_KEYS: Final = ("api", "access", "private", "account", "auth", "signing", "encryption", "master")
_PLACES: Final = ("page", "next", "continuation", "sync", "cursor", "resume", "skip", "start")
"""What tokens are of that say where a list goes on."""

FAMILIES: Final = (
    Family("password", "what is called a password", "passw(?:or)?d", is_password),
    Family("password", "what is called a password", "passphrase", is_password),
    Family("password", "what is called a password", "pwd(?<![a-z]pwd)", is_password),
    Family(
        "secret",
        "what is called a secret, and looks random",
        "secret(?:[_ .-]?access)?(?:[_ .-]?(?:key|value|token|text))?",
        is_random,
    ),
    Family(
        "api-key",
        "what is called an API key or the like, and looks random",
        "key" + _after("key", _KEYS, sign="="),
        is_random,
    ),
    Family(
        "token",
        "what is called a token, and looks random, unless it says where a list goes on",
        "token" + _after("token", _PLACES, sign="!"),
        is_random,
    ),
)


def _assigned(family: Family) -> Screen:
    name = re.compile(family.name + _IS)
    pattern = re.compile(family.name + _IS + _VALUE)
    kind = Kind(family.kind, family.about, pattern, family.check)
    return Screen(name, (kind,), lowered=True)


_LOWERED: Final = (
    *(_assigned(family) for family in FAMILIES),
    Screen(
        re.compile("authorization"),
        (
            Kind(
                "authorization",
                "headers that say who asks",
                re.compile(rf"authorization{_IS}(?!basic |bearer )(?:[a-z0-9-]{{1,20}} )?{_VALUE}"),
                _has_digit,
            ),
        ),
        lowered=True,
    ),
    Screen(
        re.compile("bearer "),
        (
            Kind(
                "bearer-token",
                "bearer tokens",
                re.compile(r"bearer {1,4}(?P<secret>[a-z0-9._~+/=-]{16,})"),
                _has_digit,
            ),
        ),
        lowered=True,
        plain=True,
    ),
    Screen(
        re.compile("cookie"),
        (
            Kind(
                "cookie",
                "headers with cookies",
                re.compile(
                    r"(?<![a-z])(?:set-)?cookie\\?[\"']?: ?\\?[\"']?"
                    r"(?P<secret>[a-z0-9_.-]{1,64}=[^\r\n\"'()\\]{8,})"
                ),
            ),
        ),
        lowered=True,
    ),
    Screen(
        re.compile("sig(?:=|nature=)"),
        (
            Kind(
                "signed-url",
                "URLs that are signed for whoever has them",
                re.compile(
                    r"(?:[?&]sig|[?&;]x-(?:amz|goog)-signature)=(?P<secret>[a-z0-9%+/=_-]{24,})"
                ),
            ),
        ),
        lowered=True,
    ),
    Screen(
        re.compile("basic "),
        (
            Kind(
                "basic-credentials",
                "users and passwords as HTTP's basic scheme has them",
                re.compile(r"basic {1,4}(?P<secret>[a-z0-9+/]{8,}={0,2})"),
                _is_basic,
            ),
        ),
        lowered=True,
        plain=True,
    ),
)

SCREENS: Final = (*_SEARCHED, *_LOWERED)
"""The screens of all other kinds."""

WORDS: Final = tuple(screen for screen in SCREENS if screen.plain)
"""Those whose kinds need neither a colon nor an equals sign in the text."""

JWK: Final = Kind(
    "private-jwk",
    "the private members of JSON Web Keys",
    re.compile(r"\"(?:d|p|q|dp|dq|qi|k)\\?\"\s*:\s*\\?\"(?P<secret>[\w-]{16,})"),
)
"""Looked for where a text has `\"kty`."""

JWK_MEMBERS: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "k"))

KINDS: Final = tuple(
    {
        kind.name: kind
        for kind in (*PREFIXED, *(kind for screen in SCREENS for kind in screen.kinds), JWK)
    }.values()
)
"""All kinds, as the documentation lists them; where several are found, the first has its name."""
