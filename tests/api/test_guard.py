"""Tokens, allowances and the names under which this machine may be asked."""

from pathlib import Path

import pytest

from volsurface.api.guard import Caller, Guard, host_refusal, origin_refusal, read_tokens
from volsurface.errors import SettingsError

TOKEN = "a-token-of-sixteen-or-more"


def test_two_seconds_of_requests_may_come_at_once_then_at_the_rate() -> None:
    caller = Caller("alice", requests_per_s=4.0)
    assert [caller.spend(100.0) for _ in range(8)] == [0.0] * 8
    assert caller.spend(100.0) == pytest.approx(0.25)
    assert caller.spend(100.25) == 0.0
    assert caller.spend(100.25) > 0.0
    assert [caller.spend(200.0) for _ in range(9)].count(0.0) == 8  # never more than the bucket holds


def test_tokens_have_holders(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(f'[alice]\ntoken = "{TOKEN}"\nrequests_per_s = 3\nstreams = 2\n[bob]\ntoken = "{TOKEN}2"\n')
    guard = Guard(read_tokens(str(path)))
    alice = guard.bearer(f"Bearer {TOKEN}")
    assert alice is not None
    assert (alice.name, alice.requests_per_s, alice.streams) == ("alice", 3.0, 2)
    assert guard.bearer(f"bearer {TOKEN}") is alice
    assert guard.bearer(f"Basic {TOKEN}") is None
    assert guard.bearer("Bearer ") is None
    assert guard.bearer("Bearer ünknown") is None
    assert guard.named("alice") is not alice  # a login of the same name is somebody else
    assert guard.named("carol") is guard.named("carol")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[alice", "cannot be read"),
        ("alice = 3", "alice is a table"),
        ('[alice]\ntoken = "short"', "at least 16 characters"),
        ("[alice]\nrequests_per_s = 3", "alice.token"),
        (f'[alice]\ntoken = "{TOKEN}"\n[bob]\ntoken = "{TOKEN}"', "bob.token"),
        (f'[alice]\ntoken = "{TOKEN}"\nrequests_per_s = 0', "above 0, found 0"),
        (f'[alice]\ntoken = "{TOKEN}"\nstreams = -1', "from 0 on, found -1"),
        (f'[alice]\ntoken = "{TOKEN}"\nstream = 1', "unknown key 'stream'; did you mean 'streams'?"),
    ],
)
def test_a_token_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=words.replace("?", r"\?")):
        read_tokens(str(path))
    with pytest.raises(SettingsError, match="cannot be read"):
        read_tokens(str(tmp_path / "missing.toml"))


@pytest.mark.parametrize(
    ("origin", "host", "ok"),
    [
        (None, "127.0.0.1:5006", True),
        ("http://127.0.0.1:5006", "127.0.0.1:5006", True),
        ("http://localhost:5006", "localhost:5006", True),
        ("http://[::1]:5006", "[::1]:5006", True),
        ("https://surface.example", "127.0.0.1:5006", True),  # listed
        ("http://localhost:8000", "127.0.0.1:5006", False),  # another server of this machine
        ("http://evil.example:5006", "evil.example:5006", False),  # a name of theirs for our address
        ("null", "127.0.0.1:5006", False),
        ("", "", False),
    ],
)
def test_pages_of_other_sites_are_refused(origin: str | None, host: str, ok: bool) -> None:
    assert (origin_refusal(origin, host, {"surface.example:80", "surface.example"}) is None) == ok


@pytest.mark.parametrize(
    ("host", "ok"),
    [
        ("127.0.0.1:5006", True), ("localhost", True), ("[::1]:5006", True), ("desk:5006", True), ("evil.example:5006", False),
        ("localhost.evil.example", False), ("", False),
    ],
)  # fmt: skip
def test_without_a_login_only_this_machines_names_are_answered(host: str, ok: bool) -> None:
    assert (host_refusal(host, {"desk:5006"}) is None) == ok
