"""What is worth a row: each rule with the rows it makes."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from surfaces import publication

from volsurface.bench.history_faults import START
from volsurface.engine.history_rows import HistoryRows
from volsurface.io.history.reader import History
from volsurface.io.history.table import Table
from volsurface.io.history.writer import Writer
from volsurface.io.transport import wire
from volsurface.io.transport.puller import FeedPuller
from volsurface.market.instrument import Instrument
from volsurface.market.quote import FORWARD_FUTURE, FORWARD_INDEX, forward_flag
from volsurface.market.row_table import RowTable
from volsurface.surface.certificate import Certificate
from volsurface.surface.quoted import COLUMNS, QuotedVols
from volsurface.surface.surface import Surface

NAN = math.nan
S = 10**9


class Market:
    """A feed, its puller and the rows made of it, a market second at a time."""

    def __init__(self, writer: Writer) -> None:
        self.writer, self.rows = writer, HistoryRows(writer)
        self.now_ns = START * S
        self.restart_feed(epoch=5)

    def restart_feed(self, epoch: int) -> None:
        self.table = RowTable(epoch)
        self.venue = SimpleNamespace(
            venue="deribit", state="live", messages=0, superseded=0, rejected=0, gaps=0, reconnects=0, subscribed=0,
            listed=0,
            last_receive_ns=0, last_venue_ns=0,
        )  # fmt: skip
        self.table.watch(self.venue)
        if not hasattr(self, "puller"):
            self.puller = FeedPuller(self)

    async def request(self, kind: int, body: bytes) -> bytes:
        if kind == wire.DIRECTORY:
            return wire.encode_directory(self.table.directory, self.table.epoch, body)
        return b"".join(wire.encode_page(self.table.reply(*wire.decode_pull(body), self.now_ns)))

    async def close(self) -> None:
        """Nothing to close."""

    def list(self, *names: str) -> list[int]:
        expiry_ns = (START + 30 * 86400) * S
        options = [Instrument("deribit", name, "BTC", expiry_ns, 100.5, 1, "coin", tick_size=0.0001) for name in names]
        return self.table.listed(options, self.now_ns)

    def quote(self, iid: int, bid: float, seq: int = 7, flags: int = forward_flag(FORWARD_FUTURE)) -> None:
        received = self.now_ns - 250 * 10**6
        self.table.ticker(
            iid, flags, received - 10**6, received, seq, bid, NAN, 1.5, NAN, 0.05, NAN, 0.6, 0.59, 86_000.5, 86_001.0, 9
        )

    async def second(self, seconds: int = 1) -> None:
        self.now_ns += seconds * S
        self.rows.begin(self.now_ns)
        self.rows.market(self.puller, await self.puller.pull())
        assert self.writer.flush().trouble == ""

    def stored(self, query: str) -> Table:
        with History(self.writer.root) as history:
            return history.sql(query)


@pytest.fixture
def market(writer: Writer) -> Market:
    return Market(writer)


async def test_a_quote_is_stored_with_units_and_missing_values(market: Market) -> None:
    market.now_ns -= S
    market.quote(*market.list("A"), 0.0515)
    await market.second()
    [row] = market.stored("SELECT * FROM quotes").rows()
    assert row["ts"] == np.datetime64(START, "s")
    assert row["ts_venue"] == np.datetime64(START * 1000 - 1251, "ms")
    assert (row["age_ms"], row["seq"], row["fwd_source"], row["run"]) == (1250, 7, "future", "test")
    assert (row["bid"], row["bid_sz"], row["mark"], row["iv_ask"], row["oi"]) == (0.0515, 1.5, 0.05, 0.6, 9.0)
    assert math.isnan(row["ask"])
    assert math.isnan(row["iv_bid"])


async def test_an_instrument_without_any_quote_says_so(market: Market) -> None:
    market.list("A")
    await market.second()
    [row] = market.stored("SELECT * FROM quotes").rows()
    assert math.isnan(row["bid"])
    assert math.isnan(row["ask"])


async def test_a_missing_sequence_number_is_null(market: Market) -> None:
    market.quote(*market.list("A"), 0.05, seq=-1)
    await market.second()
    assert market.stored("SELECT count(*) AS n FROM quotes WHERE seq IS NULL")["n"][0] == 1


async def test_many_changes_in_a_second_are_one_row_and_none_is_none(market: Market) -> None:
    a, b = market.list("A", "B")
    for bid in (0.01, 0.02, 0.03):
        market.quote(a, bid)
    market.quote(b, 0.5)
    await market.second()
    await market.second()
    market.quote(b, 0.6)
    await market.second()
    rows = market.stored("SELECT iid, bid FROM quotes ORDER BY ts, iid")
    assert list(zip(rows["iid"], rows["bid"])) == [(0, 0.03), (1, 0.5), (1, 0.6)]


async def test_every_live_quote_is_written_once_a_minute_and_a_dead_one_is_not(market: Market) -> None:
    a, b = market.list("A", "B")
    market.quote(a, 0.01)
    market.quote(b, 0.02)
    await market.second()
    for _ in range(59):
        await market.second()
    assert len(market.stored("SELECT * FROM quotes")) == 2
    market.table.closed(b, market.now_ns)
    await market.second()
    rows = market.stored(
        f"SELECT iid, flags & 1024 AS closed FROM quotes WHERE ts = make_timestamp({START + 61}000000)"
    )
    assert sorted(zip(rows["iid"], rows["closed"])) == [(0, 0), (1, 1024)], "a's keyframe, and that b has closed"
    market.venue.state = "down"
    await market.second(seconds=200)
    assert len(market.stored("SELECT * FROM quotes")) == 4, "a venue that is down has no live quotes"
    assert len(market.stored(f"FROM quotes_at(make_timestamp({START + 70}000000))")) == 2
    assert len(market.stored(f"FROM chain_at(make_timestamp({START + 70}000000), 'BTC')")) == 1
    assert len(market.stored(f"FROM quotes_at(make_timestamp({START + 200}000000))")) == 0


async def test_a_dead_side_is_not_brought_back(market: Market) -> None:
    [a] = market.list("A")
    market.quote(a, 0.01)
    await market.second()
    market.quote(a, NAN)
    await market.second()
    [row] = market.stored(f"FROM quotes_at(make_timestamp({START + 2}000000))").rows()
    assert math.isnan(row["bid"]), "arg_max(bid, ts) would say 0.01"
    [trap] = market.stored("SELECT arg_max(bid, ts) AS bid FROM quotes").rows()
    assert trap["bid"] == 0.01


async def test_instruments_keep_their_number_over_a_restart_of_the_feed_in_another_order(market: Market) -> None:
    a, b = market.list("A", "B")
    market.quote(a, 0.1)
    market.quote(b, 0.2)
    await market.second()
    market.restart_feed(epoch=6)
    b, a, c = market.list("B", "A", "C")
    market.quote(a, 0.1)
    market.quote(b, 0.3)
    market.quote(c, 0.4)
    await market.second()
    rows = market.stored("SELECT native_symbol, bid FROM quotes JOIN instruments USING (iid) ORDER BY quotes.ts, iid")
    assert list(zip(rows["native_symbol"], rows["bid"])) == [
        ("A", 0.1), ("B", 0.2), ("A", 0.1), ("B", 0.3), ("C", 0.4),
    ]  # fmt: skip
    assert len(market.stored("SELECT * FROM instruments")) == 3


async def test_forwards_and_the_spot_are_written_when_they_change(market: Market) -> None:
    expiry_ns = (START + 86400) * S

    def say(future: float, spot: float) -> None:
        market.table.forward(FORWARD_FUTURE, "deribit", "BTC", expiry_ns, future, market.now_ns, market.now_ns)
        market.table.forward(FORWARD_INDEX, "deribit", "BTC", 0, spot, market.now_ns, market.now_ns)

    say(100.0, 99.0)
    await market.second()
    say(100.0, 98.0)
    await market.second()
    rows = market.stored("SELECT epoch(expiry)::BIGINT AS expiry, value, source FROM forwards ORDER BY ts, value DESC")
    assert rows["value"].tolist() == [100.0, 99.0, 98.0]
    assert rows["source"].tolist() == ["future", "index", "index"]
    assert rows["expiry"][0] == START + 86400
    assert np.ma.getmaskarray(rows["expiry"]).tolist() == [False, True, True]


async def test_events_keep_their_time_within_their_second(market: Market) -> None:
    [a] = market.list("A")
    await market.second()
    market.table.event("trade", market.now_ns + S // 2, iid=a, value=0.05, size=2.0, extra=0.6)
    market.table.event("gap", market.now_ns - 100 * S, "warning", a, "late news")
    await market.second()
    [trade] = market.stored("SELECT * FROM trades").rows()
    assert trade["ts"] == np.datetime64(START * 1000 + 1500, "ms")
    assert (trade["venue"], trade["price"], trade["size"], trade["side"], trade["iv"]) == (
        "deribit",
        0.05,
        2,
        "buy",
        0.6,
    )
    [gap] = market.stored("SELECT * FROM events").rows()
    assert gap["ts"] == np.datetime64((START + 1) * 1_000_000 + 1, "us"), "not before what is on disk already"
    assert (gap["kind"], gap["venue"], gap["text"]) == ("gap", "deribit", "late news")


async def test_a_seller_that_took_a_bid_is_a_sell_of_a_positive_size(market: Market) -> None:
    [a] = market.list("A")
    await market.second()
    market.table.event("trade", market.now_ns, iid=a, value=0.05, size=-3.0)
    await market.second()
    [trade] = market.stored("SELECT side, size, iv FROM trades").rows()
    assert (trade["side"], trade["size"]) == ("sell", 3.0)
    assert math.isnan(trade["iv"])


async def test_a_venue_is_written_every_ten_seconds_and_at_once_when_it_breaks(market: Market) -> None:
    market.venue.last_receive_ns = market.now_ns + S - 40 * 10**6
    market.venue.last_venue_ns = market.venue.last_receive_ns - 25 * 10**6
    for _ in range(11):
        await market.second()
    market.venue.state, market.venue.gaps = "down", 2
    await market.second()
    rows = market.stored("SELECT * FROM venues ORDER BY ts")
    assert rows["state"].tolist() == ["live", "live", "down"]
    assert rows["gaps"].tolist() == [0, 0, 2]
    assert rows["lag_ms"].tolist() == [25.0, 25.0, 25.0]
    assert rows["age_ms"].tolist() == [40.0, 10040.0, 11040.0]


async def test_the_ledger_holds_what_was_done_between_two_rows(market: Market) -> None:
    def stages(offered: int, **more: object) -> dict[str, dict[str, object]]:
        return {"refit": {"offered": offered, "skipped": offered - 3, "done": 3, **more}}

    for second, count in enumerate((10, 20, 30, 31, 5)):
        market.now_ns = (START + 10 * second) * S
        market.rows.begin(market.now_ns)
        market.rows.ledger("engine", stages(count, unit="expiries"))
        market.rows.begin(market.now_ns + S)
        market.rows.ledger("engine", stages(1000))  # within ten seconds of the one before
    assert market.writer.flush().trouble == ""
    rows = market.stored("SELECT * FROM ledger ORDER BY ts")
    assert rows["offered"].tolist() == [10, 10, 10, 1, 5], "the last is of an engine that has started again"
    assert rows["stage"].tolist() == ["refit"] * 5
    assert rows["detail"][0] == '{"unit":"expiries"}'


def quoted_vols(market: Market, iids: list[int], bid: float, reason: int = 0, strike: float = 100.5) -> QuotedVols:
    n = len(iids)
    values = {
        "expiry_ns": (START + 30 * 86400) * S, "strike": strike, "k": 0.12345678, "right": 1, "bid_vol": bid,
        "ask_vol": 0.62, "mid_vol": np.nan, "fit_vol": 0.6111111, "reason": reason,
    }  # fmt: skip
    columns = {name: np.full(n, values.get(name, 0), dtype) for name, dtype in COLUMNS.items()}
    return QuotedVols(("deribit",), **columns | {"iid": np.array(iids, "i4")})


async def test_a_vol_is_written_when_it_moves_by_a_basis_point_in_ten_seconds_or_its_use_changes(
    market: Market,
) -> None:
    iids = market.list("A", "B")
    await market.second()
    for wait, bid, reason in (
        (1, 0.6, 0),
        (10, 0.60005, 0),
        (1, 0.6002, 0),
        (1, 0.6002, 7),
        (9, math.nan, 7),
        (1, math.nan, 7),
    ):
        market.now_ns += wait * S
        market.rows.begin(market.now_ns)
        quotes = quoted_vols(market, iids, bid, reason)
        market.rows.publication(replace(publication(), quotes=quotes))
    market.writer.flush()
    rows = market.stored("SELECT * FROM ivs WHERE iid = 0 ORDER BY ts")
    assert rows["used"].tolist() == ["used", "used", "stale", "stale"]
    assert rows["iv_bid"].tolist()[:3] == [0.6, 0.6002, 0.6002]
    assert math.isnan(rows["iv_bid"][3])
    assert (rows["k"][0], rows["iv_fit"][0], rows["iv_ask"][0]) == (0.123457, 0.611111, 0.62)
    assert len(market.stored("SELECT * FROM ivs")) == 8


async def test_vols_numbered_by_an_earlier_feed_are_left_out(market: Market) -> None:
    iids = market.list("A")
    await market.second()
    market.rows.begin(market.now_ns + S)
    market.rows.publication(replace(publication(), quotes=quoted_vols(market, iids, 0.6, strike=99.0)))
    market.rows.publication(replace(publication(2), quotes=quoted_vols(market, [5], 0.6)))
    market.writer.flush()
    assert len(market.stored("SELECT * FROM ivs")) == 0


def engine_event(kind: str, **detail: object) -> dict[str, object]:
    return {"seq": 1, "ts_ns": START * S, "kind": kind, "severity": "info", "text": "", "detail": detail}


async def test_what_the_engine_passes_on_from_the_feed_is_not_stored_twice(market: Market) -> None:
    market.rows.begin(market.now_ns)
    market.rows.engine_events([engine_event("gap", service="feed"), engine_event("published", digest="ab")])
    market.writer.flush()
    [row] = market.stored("SELECT * FROM events").rows()
    assert (row["kind"], row["service"], row["detail"]) == ("published", "engine", '{"digest":"ab"}')


async def test_a_metric_is_written_when_it_moves_and_once_a_minute(market: Market) -> None:
    for second, shift in ((0, 0.0), (1, 0.0), (2, 1e-9), (3, 0.02), (63, 0.02)):
        market.rows.begin((START + second) * S)
        market.rows.publication(publication(second, shift=shift))
    market.writer.flush()
    rows = market.stored(
        "SELECT epoch(ts)::BIGINT AS s, count(expiry) AS expiries, count(tenor) AS tenors FROM metrics GROUP BY 1 ORDER BY 1"
    )
    assert rows["s"].tolist() == [START, START + 3, START + 63]
    assert rows["expiries"].tolist() == [3, 3, 3]
    assert rows["tenors"].tolist() == [5, 5, 5], "7 to 90 days lie between the expiries, 180 does not"


async def test_a_surface_without_a_smile_is_stored_as_one(market: Market) -> None:
    failed = replace(publication(4), surface=Surface("BTC", START * S, (), Certificate.of((), ()), "failed"))
    market.rows.begin(market.now_ns)
    market.rows.publication(failed)
    market.writer.flush()
    [row] = market.stored("SELECT state, n_smiles FROM surfaces").rows()
    assert (row["state"], row["n_smiles"]) == ("failed", 0)
    assert len(market.stored("SELECT * FROM smiles")) == 0
    with History(market.writer.root) as history:
        assert history.surface_at((START + 1) * S, "BTC").smiles == ()


def test_a_mixture_comes_back_with_both_of_its_slices(market: Market) -> None:
    made = publication()
    weights = (0.25, *made.surface.smiles[0].parameters, *made.surface.smiles[1].parameters)
    mixed = replace(made.surface.smiles[1], model="mixture", parameters=weights)
    surface = replace(made.surface, smiles=(made.surface.smiles[0], mixed, made.surface.smiles[2]))
    market.rows.begin(market.now_ns)
    market.rows.publication(replace(made, surface=surface))
    market.writer.flush()
    with History(market.writer.root) as history:
        stored = history.surface_at(market.now_ns, "BTC")
    assert stored.digest == surface.digest
    assert stored.smiles[1].parameters == weights
