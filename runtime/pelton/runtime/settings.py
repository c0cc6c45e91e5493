"""Settings: `pelton.toml`, overridden by `PELTON_…` environment variables, overridden by flags.

A setting is a member of one of the sections below; its text is what the documentation says of it.
What is wrong is an error that names the place: `pelton.toml: bridge.http: expected str, got int`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    cast,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Meta

from pelton.runtime.auth_settings import (
    TENANT,
    AuthSettings,
    ClientSettings,
    LimitSettings,
    TenantName,
    TenantSettings,
    TlsSettings,
)
from pelton.runtime.equipment_settings import EquipmentSettings
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.memory_settings import MemorySettings
from pelton.runtime.privacy_settings import EncryptionSettings, RedactionSettings
from pelton.runtime.process_settings import LogSettings, ProjectionSettings
from pelton.runtime.push_settings import PushSettings
from pelton.runtime.setting_types import Address as Address  # noqa: PLC0414  who loads settings
from pelton.runtime.setting_types import Secret as Secret  # noqa: PLC0414  needs these too
from pelton.runtime.setting_types import Section
from pelton.runtime.telemetry_settings import TelemetrySettings
from pelton.runtime.toml import Convert, fault, hint, read
from pelton.runtime.toml import SettingsError as SettingsError  # noqa: PLC0414  who loads raises it
from pelton.runtime.webhook_settings import WebhookSettings

FILE: Final = "pelton.toml"
"""The settings file that is read if it is there."""

_PREFIX: Final = "PELTON_"
_ORIGIN: Final = r"^https?://[^/@?#\s]+$"


class NatsSettings(Section, frozen=True, kw_only=True):
    """The log: which NATS server holds it, and what an accepted message survives there."""

    url: Annotated[
        Secret | None,
        Meta(
            description="URL of the NATS server, `nats://USER:PASSWORD@HOST:PORT`, or `tls://…` for"
            " one that must have TLS; several of one cluster are separated by commas. Without it,"
            " commands use the server of the `pelton dev` that runs on the same data directory."
        ),
    ] = None
    credentials: Annotated[
        str,
        Meta(
            description="File with the credentials for the server, if the URL has none: a `.creds`"
            " file or an nkey seed."
        ),
    ] = ""
    profile: Annotated[
        Literal["durable", "relaxed", "cluster"],
        Meta(
            description="Durability profile. `durable`: synced to disk before it is accepted."
            " `relaxed`: synced every two minutes; for development and benchmarks. `cluster`:"
            " held by two of three servers before it is accepted."
        ),
    ] = "durable"
    monitoring: Annotated[
        str,
        Meta(
            description="URL of the server's HTTP monitoring, `http://HOST:8222`: `pelton doctor`"
            " asks there whether records are synced to disk, and no part starts if they are not"
            " and the profile says so."
        ),
    ] = ""
    tenant: Annotated[
        str,
        Meta(
            pattern=TENANT,
            description="Name of the tenant whose log this is, written into every record. The log"
            " itself is that of the NATS account that `url` logs in to.",
        ),
    ] = "local"


class BridgeSettings(Section, frozen=True, kw_only=True):
    """The A2A bridge: HTTP in front of the log."""

    http: Annotated[
        Address, Meta(description="Where it listens, `HOST:PORT`; port 0 takes any free port.")
    ] = Address("127.0.0.1", 8000)
    grpc: Annotated[
        Address | None,
        Meta(
            description="Where it listens for gRPC, `HOST:PORT`; without it, not at all. Needs the"
            " extra `pelton[grpc]`."
        ),
    ] = None
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Names that it answers to beside those of loopback and of `public_url`. If"
            " it does not listen on loopback and none is named, it answers to all."
        ),
    ] = ()
    origins: Annotated[
        tuple[Annotated[str, Meta(pattern=_ORIGIN)], ...],
        Meta(
            description="Origins of pages elsewhere that may open WebSockets, like"
            " `https://app.example`; those of its own origin may."
        ),
    ] = ()
    agents_at: Annotated[
        dict[str, str],
        Meta(
            description="Host names, and the agent that each serves at `/`:"
            ' `{"echo.example.com" = "echo"}`. They count among `bridge.hosts`. In the variable it'
            " is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, str])
    agent: Annotated[
        str,
        Meta(
            description="Name of the agent that is served at `/` too. Without it, the only agent"
            " is, if there is but one."
        ),
    ] = ""
    a2a_03: Annotated[
        bool,
        Meta(
            description="Whether it speaks A2A 0.3 too, beside 1.0. Cards then have the members of"
            " both, which strict readers of 1.0 refuse."
        ),
    ] = False
    mcp: Annotated[
        tuple[str, ...],
        Meta(description="Tools it serves over MCP: `agents`, `operator`. Needs `pelton[mcp]`."),
    ] = ()
    card_key: Annotated[
        str,
        Meta(description="File with the JWK that signs agent cards. Needs `pelton[signing]`."),
    ] = ""
    card_jku: Annotated[
        str,
        Meta(description="URL under which readers of cards find the public key, as a JWK set."),
    ] = ""
    public_url: Annotated[
        str,
        Meta(
            description="URL under which clients reach it, as agent cards name it. Without it,"
            " `http://` and the address it listens on."
        ),
    ] = ""
    public_grpc: Annotated[
        str,
        Meta(
            description="`HOST:PORT` under which clients reach its gRPC, as agent cards name it."
            " Without it, the host of `public_url` and the port it listens on."
        ),
    ] = ""
    debug_token: Annotated[
        Secret | None,
        Meta(
            description="With it, the bridge serves the debugger at `/debug` to whoever shows it."
            " `pelton dev` makes one for each run; a bridge that more than this machine reaches"
            " refuses to have one."
        ),
    ] = None
    answer_within: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds after which a blocking request is answered with the task as it"
            " is then.",
        ),
    ] = 60.0
    stop_within: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds that requests have to end after SIGTERM; streams are ended, for"
            " their clients to go on elsewhere.",
        ),
    ] = 5.0


class ExecutorSettings(Section, frozen=True, kw_only=True):
    """The executors: the processes that run agents."""

    agents: Annotated[
        tuple[str, ...],
        Meta(
            description="Agents to run: `module:name`, `path/to/file.py[:name]`, an agent file"
            " `agent.toml`, the name of an entry point in the group `pelton.agents`, or what brings"
            " an agent of another kind, such as `model:anthropic/NAME`, `cli:PROGRAM ARGUMENT…`,"
            " `sdk:module:Class`."
        ),
    ] = ()
    remotes: Annotated[
        tuple[str, ...],
        Meta(
            description="URLs of A2A agents elsewhere that work may be delegated to,"
            " `https://HOST/PATH`; what lies below one is allowed too. None is unless it is named"
            " here. Needs the extra `a2a-client`."
        ),
    ] = ()
    environments: Annotated[
        str, Meta(description="Where `pelton adapters install` puts things; else `~/.local`.")
    ] = ""
    capacity: Annotated[
        int, Meta(ge=1, description="How many contexts one executor works on at once.")
    ] = 64
    stop_within: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds that running turns have to end after SIGTERM; then they are"
            " handed back, and another executor goes on with them.",
        ),
    ] = 5.0


class Settings(EquipmentSettings, frozen=True, kw_only=True):
    """All settings; those of equipment hold for all agents."""

    data: Annotated[
        str,
        Meta(
            min_length=1,
            description="Directory for everything that is kept on this machine. `pelton dev`"
            " keeps its log there; all other files in it can be rebuilt.",
        ),
    ] = ".pelton"
    nats: NatsSettings = NatsSettings()
    tenants: Annotated[
        dict[TenantName, TenantSettings],
        Meta(
            description="Tenants that a bridge and a projector serve beside `nats.tenant`, by name:"
            " a table `[tenants.NAME]` each, with its `url`, `credentials`, `hosts` and"
            " `agents_at`. In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, TenantSettings])
    bridge: BridgeSettings = BridgeSettings()
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    push: PushSettings = PushSettings()
    client: ClientSettings = ClientSettings()
    executor: ExecutorSettings = ExecutorSettings()
    gateway: GatewaySettings = GatewaySettings()
    webhook: WebhookSettings = WebhookSettings()
    agents: Annotated[
        dict[str, EquipmentSettings],
        Meta(
            description="Equipment of single agents by name, beside that of all: tables"
            " `[agents.NAME.policy]`, `[agents.NAME.hooks.HOOK]` and so on. In the variable it is a"
            " JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, EquipmentSettings])
    memory: MemorySettings = MemorySettings()
    projections: ProjectionSettings = ProjectionSettings()
    redaction: RedactionSettings = RedactionSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @property
    def equipment(self) -> EquipmentSettings:
        """What all agents go by."""
        return EquipmentSettings(
            policy=self.policy, hooks=self.hooks, plugins=self.plugins, skills=self.skills
        )

    @property
    def directory(self) -> Path:
        """The data directory."""
        return Path(self.data)

    @property
    def projections_path(self) -> Path:
        """The SQLite file of the read models."""
        return self.directory / self.projections.file

    @property
    def folds_path(self) -> Path:
        """The SQLite file of what long contexts were folded to: a cache beside the read models."""
        path = self.projections_path
        return path.with_name(f"{path.stem}.folds{path.suffix}")

    def projections_of(self, tenant: str) -> Path:
        """Return the SQLite file of the read models of one of `tenants`: it is its own."""
        path = self.projections_path
        return path.with_name(f"{path.stem}-{tenant}{path.suffix}")

    def of_tenant(self, name: str) -> Settings:
        """Return the settings with one of `tenants` in the place of the first one."""
        given = self.tenants[name]
        nats = msgspec.structs.replace(
            self.nats, url=given.url, credentials=given.credentials, tenant=name
        )
        models = msgspec.structs.replace(
            self.projections, file=str(self.projections_of(name).absolute())
        )
        return msgspec.structs.replace(self, nats=nats, projections=models, tenants={})


class Setting(NamedTuple):
    """One setting, as documentation and error messages speak of it."""

    path: str
    """Where it stands in the file: `bridge.http`."""
    variable: str
    """The environment variable that overrides it."""
    type: Any
    default: Any
    text: str


def settings() -> Iterable[Setting]:
    """Yield every setting there is, in the order of the file."""
    yield from _members(Settings, "")


def _members(section: type[Section], prefix: str) -> Iterable[Setting]:
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        hint: Any = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, Section):
            yield from _members(hint, f"{prefix}{field.name}.")
            continue
        meta: Meta = hints[field.name].__metadata__[0]
        path = prefix + field.name
        default = field.default
        if default is msgspec.NODEFAULT:  # what can be changed is made anew each time
            default = cast("Callable[[], object]", field.default_factory)()
        yield Setting(path, variable(path), hint, default, meta.description or "")


def variable(path: str) -> str:
    """Return the environment variable that overrides the setting at `path`."""
    return _PREFIX + path.replace(".", "_").upper()


def as_environment(given: Settings) -> dict[str, str]:
    """Return variables that make another process load the same settings; secrets are in them."""
    found: dict[str, str] = {}
    for setting in settings():
        value: Any = given
        for name in setting.path.split("."):
            value = getattr(value, name)
        if value is not None:
            found[setting.variable] = _spell(value)
    return found


def _spell(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, dict):
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    return ",".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else str(value)


def _plain(value: object) -> str:
    """Return the text of a secret, for the process that needs it."""
    return value.reveal() if isinstance(value, Secret) else str(value)


def _unspell(setting: Setting, text: str) -> object:
    """Return what a variable spells: lists with commas, tables in JSON, all else as it stands."""
    kind = get_origin(setting.type.__origin__)
    if kind is tuple:
        return [*filter(None, text.split(","))]
    if kind is dict:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise SettingsError(f"{setting.variable}: is not JSON: {error}") from None
    return text


def load(
    file: Path | None,
    *,
    environment: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings of a file, overridden by the environment, overridden by flags.

    Without `file`, `pelton.toml` in the current directory is read if there is one. `flags` leads
    from the paths of settings to values; those that are None are left out.

    Raises:
        SettingsError: the file cannot be read, or a setting is unknown or has a wrong value.
    """
    known = {each.path: each for each in settings()}
    values = read(file or Path(FILE)) if file or Path(FILE).exists() else {}
    source = str(file or FILE)
    _convert(values, Settings, source)  # first by itself: its errors are the file's
    for name, text in _overrides(environment, known).items():
        setting = known[name]
        value = _unspell(setting, text)
        _convert(value, setting.type, setting.variable, strict=False)
        _put(values, name, value)
    for name, flag in (flags or {}).items():
        if flag is not None:
            _convert(flag, known[name].type, f"--{name.rpartition('.')[2]}", strict=False)
            _put(values, name, flag)
    merged: Settings = _convert(values, Settings, source, strict=False)
    return merged


def _overrides(environment: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, str]:
    """Return the settings that the environment overrides, by path."""
    paths = {each.variable: each.path for each in known.values()}
    found: dict[str, str] = {}
    for name, text in environment.items():
        if name in paths:
            found[paths[name]] = text
        elif name.startswith(_PREFIX):
            raise SettingsError(f"{name}: there is no such setting{hint(name, paths)}")
    return found


def _put(values: dict[str, Any], path: str, value: object) -> None:
    *sections, name = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value


def _from_text(kind: type, value: Any) -> Any:
    """Make the types that msgspec does not know of the text that spells them."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")  # noqa: TRY004 (msgspec)
    return Secret(value) if kind is Secret else Address.parse(value)


def _convert(value: object, kind: Any, source: str, *, strict: bool = True) -> Any:
    convert: Convert = partial(msgspec.convert, strict=strict, dec_hook=_from_text)
    try:
        return convert(value, kind)
    except msgspec.ValidationError as error:
        found = fault(error, kind, value, convert)
    path, what = found.path, found.says
    if found.unknown:
        section = path.rpartition(".")[0]
        here = [f"{section}.{each}".lstrip(".") for each in found.names]
        what = f"there is no such setting{hint(path, here)}"
    where = ": ".join(part for part in (source, path) if part)
    raise SettingsError(f"{where}: {what}")
