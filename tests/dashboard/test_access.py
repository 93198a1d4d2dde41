"""Who may see a page."""

from types import SimpleNamespace

import pytest

from volsurface.dashboard.access import is_loopback, refusal


def request(address: str, **headers: str) -> SimpleNamespace:
    return SimpleNamespace(remote_ip=address, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_let_in(address: str) -> None:
    assert refusal(request(address), False, False) is None


@pytest.mark.parametrize(
    "address", ["192.168.1.7", "10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "", "unix", "0.0.0.0"]
)
def test_another_machine_is_told_how_to_be_let_in(address: str) -> None:
    sentence = refusal(request(address), False, False)
    assert sentence is not None
    for words in ("--basic-auth", "--oauth-provider", "--args --allow-anonymous", address):
        assert words in sentence


def test_authentication_or_the_flag_lets_everybody_in() -> None:
    assert refusal(request("192.168.1.7"), True, False) is None
    assert refusal(request("192.168.1.7"), False, True) is None


@pytest.mark.parametrize("header", ["X_Forwarded_For", "x_forwarded_for", "Forwarded", "X_Real_Ip", "Via"])
def test_a_proxy_on_this_machine_is_not_this_machine(header: str) -> None:
    sentence = refusal(request("127.0.0.1", **{header: "127.0.0.1"}), False, False)
    assert sentence is not None
    assert "through a proxy" in sentence


def test_a_page_made_without_a_request_is_the_servers_own() -> None:
    assert refusal(None, False, False) is None


def test_what_is_not_an_address_is_not_loopback() -> None:
    assert not is_loopback("localhost.evil.example")
    assert not is_loopback("127.0.0.1/8")
