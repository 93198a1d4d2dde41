"""A book kept in coins, and which frames come too late."""

import pytest
from deribit_script import RecordingSink

from volsurface.market.instrument import CALL, COIN, Instrument
from volsurface.venues.book_stream import BookStream, is_late

S = 1_000_000_000


class Session:
    last_venue_ns = 0

    def book_gap(self, stream, why, now_ns):
        raise AssertionError(why)


def stream_of(contract_size):
    instrument = Instrument("okx", "X", "BTC", 1, 1.0, CALL, COIN, contract_size=contract_size)
    return BookStream(0, instrument, Session(), RecordingSink())


@pytest.mark.parametrize("per_coin", [1, 10, 100, 1000])
def test_contracts_become_the_nearest_coins_there_are(per_coin):
    stream = stream_of(1 / per_coin)
    assert all(stream.coins(float(n)) == n / per_coin for n in range(1, 5000))


@pytest.mark.parametrize("size", [0.03, 2.0, 0.7, 1e-9, 1e9])
def test_other_contract_sizes_are_multiplied(size):
    assert stream_of(size).coins(7.0) == pytest.approx(7.0 * size, rel=1e-15)


def test_late_is_a_little_older_and_not_a_clock_set_back():
    last_ns = 1_000 * S
    assert [is_late(last_ns - before, last_ns) for before in (-S, 0, 1, 60 * S, 61 * S)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert not is_late(5 * S, 0)
