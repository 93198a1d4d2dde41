"""Venues by name."""

import pytest
from deribit_script import RecordingSink

from volsurface.errors import VenueError
from volsurface.venues.registry import VENUES, default_url, make_codec


def test_deribit_is_there():
    codec = make_codec("deribit", ["BTC", "eth"], ["ticker", "book"], RecordingSink())
    assert (codec.venue, codec.state) == ("deribit", "connecting")
    assert default_url("deribit") == "wss://www.deribit.com/ws/api/v2"
    assert "deribit" in VENUES


@pytest.mark.parametrize(
    ("venue", "underlyings", "channels", "words"),
    [
        ("deribt", ["BTC"], ["ticker"], "unknown venue 'deribt'; did you mean 'deribit'"),
        ("deribit", ["BTCC"], ["ticker"], "unknown underlying 'BTCC'; did you mean 'BTC'"),
        ("deribit", [], ["ticker"], "no underlying"),
        ("deribit", ["BTC"], ["tiker"], "unknown channel 'tiker'; did you mean 'ticker'"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(venue, underlyings, channels, words):
    with pytest.raises(VenueError, match=words):
        make_codec(venue, underlyings, channels, RecordingSink())


def test_no_address_for_an_unknown_venue():
    with pytest.raises(VenueError, match=r"Allowed: .*deribit"):
        default_url("nyse")
