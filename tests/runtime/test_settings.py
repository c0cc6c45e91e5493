"""Settings: the file, the environment and the flags, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.runtime.settings import Address, Secret, Settings, SettingsError, load, settings


def read(
    tmp_path: Path,
    text: str = "",
    environment: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> Settings:
    file = tmp_path / "pelton.toml"
    file.write_text(text)
    return load(file, environment=environment or {}, flags=flags)


def test_nothing_set_is_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path) == Settings()


def test_the_file_of_the_current_directory_is_read_if_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, environment={}) == Settings()
    (tmp_path / "pelton.toml").write_text("data = 'elsewhere'")
    assert load(None, environment={}).data == "elsewhere"


def test_environment_overrides_file_and_flags_override_both(tmp_path: Path) -> None:
    text = "[bridge]\nhttp = '127.0.0.1:1'\nanswer_within = 3\n[executor]\ncapacity = 5"
    environment = {"PELTON_BRIDGE_HTTP": "127.0.0.1:2", "PELTON_EXECUTOR_CAPACITY": "6"}
    found = read(tmp_path, text, environment, {"bridge.http": "[::1]:3", "data": None})
    assert found.bridge.http == Address("::1", 3)
    assert found.bridge.answer_within == 3.0
    assert found.executor.capacity == 6
    assert found.data == ".pelton"


def test_a_list_in_the_environment_is_separated_by_commas(tmp_path: Path) -> None:
    found = read(tmp_path, environment={"PELTON_EXECUTOR_AGENTS": "a:b,c.py"})
    assert found.executor.agents == ("a:b", "c.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[bridge]\nhttp = 3", "bridge.http: expected str, got int"),
        ("[bridge]\nhttp = '80'", "bridge.http: '80' is not HOST:PORT"),
        ("[bridge]\nhttp = 'h:70000'", "bridge.http: 'h:70000' is not HOST:PORT"),
        ("[bridge]\nanswer_within = 0", "bridge.answer_within: expected float > 0.0"),
        ("[bridge]\nhtpt = ''", "bridge.htpt: there is no such setting; did you mean bridge.http?"),
        ("[brigde]\n", "brigde: there is no such setting; did you mean bridge?"),
        ("bridge = 3", "bridge: expected object, got int"),
        ("data = 3", "data: expected str, got int"),
        ("[executor]\ncapacity = '1'", "executor.capacity: expected int, got str"),
        ("[executor]\nagents = [1]", "executor.agents[0]: expected str, got int"),
        ("[nats]\nurl = 3", "nats.url: expected str, got int"),
        ("[hooks.a]\n[hooks.h]\ncommand = 'x'", "hooks.h.command: expected array, got str"),
        ("[hooks.h]\npoints = ['tool.befor']", "hooks.h.points[0]: use one of command.received"),
        ("[agents.w.policy]\nwrites = 'x'", "agents.w.policy.writes: use one of allow, ask, deny"),
        ("[agents.w.policy]\nwrite = 1", "agents.w.policy.write: there is no such setting; did"),
        ("[tenants.a]\nnothing = 1", "tenants.a.nothing: there is no such setting"),
        ("[nats]\nprofile = 'x'", "nats.profile: use one of durable, relaxed, cluster"),
        ("[", "is not TOML:"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(SettingsError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'pelton.toml'}: {said}")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PELTON_BRIDGE_HTPP", "", "there is no such setting; did you mean PELTON_BRIDGE_HTTP?"),
        ("PELTON_EXECUTOR_CAPACITY", "many", "expected int, got str"),
        ("PELTON_EXECUTOR_CAPACITY", "0", "expected int >= 1"),
        ("PELTON_NATS_PROFILE", "best", "use one of durable, relaxed, cluster"),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError) as error:
        read(tmp_path, environment={name: value, "PATH": "/bin"})
    assert str(error.value) == f"{name}: {said}"


def test_a_wrong_flag_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--http: 'x' is not HOST:PORT$"):
        read(tmp_path, flags={"bridge.http": "x"})


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(tmp_path / "missing.toml", environment={})
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(tmp_path / "bad.toml", environment={})


@pytest.mark.accepts("AS-40")
@given(text=st.text(min_size=4))
def test_a_secret_is_never_shown(text: str) -> None:
    secret = Secret(text)
    assert secret.reveal() == text
    assert {repr(secret), str(secret), f"{secret}", f"{[secret]}"} == {"***", "[***]"}


def test_the_password_in_the_url_is_not_shown_by_the_settings(tmp_path: Path) -> None:
    found = read(tmp_path, "[nats]\nurl = 'nats://a:canary@h'")
    assert found.nats.url == Secret("nats://a:canary@h")
    assert "canary" not in f"{found} {found!r}"


@pytest.mark.accepts("AS-42")
@given(text=st.text())
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address
    assert 0 <= address.port < 65536


def test_every_setting_has_a_text_a_variable_of_its_own_and_a_default() -> None:
    found = list(settings())
    assert all(each.text.endswith(".") for each in found)
    assert len({each.variable for each in found}) == len(found) > 10
