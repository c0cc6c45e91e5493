"""Where may be posted to (S8): all forms in which an address that is nobody's business is spelt."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from pelton.adapters.push.addresses import check, is_public, origin, target
from pelton.events.errors import InvalidInput

pytestmark = pytest.mark.accepts("S8")

FORMS = (
    *("http://hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd", "hooks", ""),
    *("https://", "https:///x", "https://?x", "//hooks.example.com", "https:hooks.example.com"),
    *("https://user@hooks.example.com/", "https://u:p@hooks.example.com/", "https://@a.example/"),
    "https://hooks.example.com@127.0.0.1/",
    *("https://hooks.example.com:22/", "https://hooks.example.com:80/", "https://a.example:0/"),
    *("https://hooks.example.com:65536/", "https://hooks.example.com:x/", "https://a.example:/:1"),
    *("https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://2130706433/"),
    *("https://0x7f000001/", "https://0x7f.1/", "https://0177.0.0.1/", "https://017700000001/"),
    *("https://0/", "https://0x/", "https://127.0.0.1./", "https://127%2e0.0.1/"),
    *("https://[::1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::7f00:1]/"),
    *("https://[::ffff:7f00:1]/", "https://[0:0:0:0:0:ffff:127.0.0.1]/", "https://::1/"),
    *("https://[2002:7f00:1::]/", "https://[64:ff9b::127.0.0.1]/", "https://[64:ff9b:1::1]/"),
    *(
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fc00::1]/",
        "https://[ff02::1]/",
    ),
    *("https://[2001:0:7f00:1::]/", "https://[2001:db8::1]/", "https://[1::1]/"),
    *(
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://172.31.255.255/",
        "https://192.168.1.1/",
    ),
    *("https://169.254.169.254/latest/meta-data", "https://100.64.0.1/", "https://100.127.255.1/"),
    *("https://0.0.0.0/", "https://224.0.0.1/", "https://255.255.255.255/", "https://198.18.0.1/"),
    *("https://192.0.0.1/", "https://192.0.2.1/", "https://192.88.99.1/", "https://203.0.113.1/"),
    *("https://hooks.example.com\\@127.0.0.1/", "https://hooks.example.com#@127.0.0.1/"),
    *("https://hooks.example.com/ x", "https://hooks.example.com/\r\nHost: a", "https://a\tb.com/"),
    *("https://hooks.exam\u2024ple.com/", "https://\u2460\u2461\u2466.0.0.1/", "https://a_b.com/"),
    *("https://-a.example.com/", f"https://{'a' * 64}.com/", f"https://{'a.' * 130}com/"),
    "https://hooks.example.com/" + "x" * 2048,
)


@pytest.mark.parametrize("url", FORMS)
def test_a_url_that_leads_elsewhere_or_is_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        target(url)
    assert refused.value.field == "url"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://hooks.example.com/a/b?c=d&e=%20", "hooks.example.com", 443),
        ("https://HOOKS.example.com:8443", "hooks.example.com", 8443),
        ("https://8.8.8.8/", "8.8.8.8", 443),
        ("https://[2606:4700::1111]:443/x", "2606:4700::1111", 443),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
        ("https://localhost/", "localhost", 443),  # by its addresses it is refused: see below
    ],
)
def test_a_public_https_url_is_taken(url: str, host: str, port: int) -> None:
    found = target(url)
    assert (found.host, found.port, found.trusted) == (host, port, False)
    shown = f"[{host}]" if ":" in host else host
    assert found.origin == f"https://{shown}:{port}"


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1"], ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["fe80::1%eth0"]],
)
def test_every_address_of_a_host_counts(addresses: list[str]) -> None:
    with pytest.raises(InvalidInput):
        check(target("https://localhost/"), addresses)
    check(target("https://hooks.example.com/"), ["8.8.8.8", "2606:4700::1111"])


def test_what_the_settings_allow_is_allowed_and_nothing_else() -> None:
    allowed = [origin("http://localhost"), origin("https://hooks.internal:9443")]
    for url in ("http://localhost:8080/x", "http://localhost/", "https://hooks.internal:9443/y"):
        found = target(url, allowed)
        assert found.trusted
        check(found, ["127.0.0.1", "10.0.0.1"])
    for url in (
        "http://localhost.example.com/",
        "https://hooks.internal:9444/",
        "http://127.0.0.1/",
    ):
        with pytest.raises(InvalidInput):
            target(url, allowed)
    assert not target("https://localhost/", allowed).trusted
    for entry in ("localhost", "http://localhost/x", "http://*", "http://a@b", ""):
        with pytest.raises(InvalidInput):
            origin(entry)


@given(st.ip_addresses())
@example(ipaddress.ip_address("::ffff:8.8.8.8"))
@example(ipaddress.ip_address("2002:808:808::"))
@example(ipaddress.ip_address("64:ff9b::808:808"))
def test_a_public_address_is_global_to_everybody(address: ipaddress.IPv4Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not any((address.is_private, address.is_loopback, address.is_link_local))
        assert not any((address.is_multicast, address.is_reserved, address.is_unspecified))


URLS = st.one_of(
    st.text(alphabet=st.sampled_from("https:/@#?[]\\.%0123456789abcdefx-_ \t\n"), max_size=60),
    st.tuples(
        st.sampled_from(["https://", "http://", "HTTPS://", "https:\\\\", "https:/"]),
        st.text(alphabet=st.sampled_from("abx0127.:@[]%-_\\#?/"), max_size=30),
        st.sampled_from(["", "/", "/x?y=z", "#f", ":443/", ":22/"]),
    ).map("".join),
    st.from_regex(r"\Ahttps://[a-z0-9.-]{1,20}(:[0-9]{1,5})?(/[!-~]{0,20})?\Z"),
)


@given(URLS)
@example("https://a.example:443/@b")
@example("https://8.8.8.8:443/?@b")
def test_all_parsers_read_what_is_taken_in_the_same_way(url: str) -> None:
    """Else one would check a host, and another connect to another."""
    try:
        found = target(url)
    except InvalidInput:
        return
    read = urlsplit(url)
    assert (read.scheme, read.hostname, read.username) == ("https", found.host, None)
    client = URL(url, encoded=True)
    assert (client.scheme, client.host, client.port) == ("https", found.host, found.port)
    assert client.user is None
    other = httpx.URL(url)
    assert (other.scheme, other.host, other.port or 443) == ("https", found.host, found.port)
    try:
        assert is_public(ipaddress.ip_address(found.host))
    except ValueError:
        assert not found.host.rpartition(".")[2].isdecimal()
