"""Every instrument has exactly one connection, and the connections share them about evenly."""

from deribit_script import Script, option, requests, ticker

from volsurface.venues.registry import VENUES, connections_needed, default_rest_url, default_url
from volsurface.venues.sharding import WHOLE, Capacity, connections_for, in_shard

SYMBOLS = [f"BTC-25SEC26-{strike}-{right}" for strike in range(20_000, 120_000, 500) for right in "CP"]


def test_each_symbol_is_in_one_shard_and_stays_there():
    assert all(in_shard(symbol, WHOLE) for symbol in SYMBOLS)
    for n in (2, 3, 16):
        homes = [[i for i in range(n) if in_shard(symbol, (i, n))] for symbol in SYMBOLS]
        assert all(len(home) == 1 for home in homes)
        sizes = [sum(home == [i] for home in homes) for i in range(n)]
        assert max(sizes) < 1.6 * len(SYMBOLS) / n, sizes


def test_connections_leave_room_for_an_uneven_hash():
    assert connections_for(0, 200) == 1
    assert connections_for(177, 200) == 1
    assert connections_for(178, 200) == 2
    assert connections_for(3200, 200) == 18


def test_every_venue_says_how_many_connections_and_where_its_rest_is():
    for venue in VENUES:
        assert default_url(venue).startswith("wss://")
        assert default_rest_url(venue).startswith("https://")
        one, two = (connections_needed(venue, n, ["ticker", "book"]) for n in (1, 2))
        assert 1 <= one <= two


def test_two_deribit_connections_share_the_options_and_one_speaks_for_all():
    listings = {"BTC": [option(symbol) for symbol in SYMBOLS]}
    whole, first, second = (Script(listings, channels=["ticker"], shard=s).open() for s in (WHOLE, (0, 2), (1, 2)))
    symbols = [{i.symbol for call in s.sink.of("listed") for i in call["instruments"]} for s in (whole, first, second)]
    assert symbols[1] | symbols[2] == symbols[0] == set(SYMBOLS)
    assert not symbols[1] & symbols[2]
    for script, has_index in ((first, True), (second, False)):
        channels = {channel for call in requests(script.calls, "subscribe") for channel in call}
        assert ("deribit_price_index.btc_usd" in channels) == has_index
    for script in (first, second):
        for name in SYMBOLS[:40]:
            script.receive(ticker(name))
    assert first.sink.of("forward")
    assert not second.sink.of("forward")


def test_a_connection_takes_as_many_groups_of_channels_as_fit_beside_what_it_holds():
    capacity = Capacity(channels=5, letters=40)
    assert capacity.fitting(["a"], [["bb", "cc"], ["dd", "ee"]]) == (2, "")
    fit, why = capacity.fitting(["a", "b"], [["bb", "cc"], ["dd", "ee"], ["f", "g"]])
    assert fit == 1
    assert why == "they need 8 channels of 36 letters, a connection carries 5 of 40"
    assert capacity.fitting([], [["x" * 30], ["y" * 8]])[0] == 1  # 33 and 11 letters with their quotes and commas
