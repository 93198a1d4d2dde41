"""The row table: what codecs write is what consumers read, whatever the page size and however writes fall between pages."""

import math
import random

import numpy as np
import pytest

from volsurface.market.instrument import Instrument
from volsurface.market.quote import (
    BOOK_GAP,
    BOOK_TOP,
    CLAMPED_IV,
    CLOSED,
    CROSSED,
    EVENT_KINDS,
    FORWARD_FUTURE,
    FORWARD_INDEX,
    FORWARD_SYNTHETIC,
    LOCKED,
    ONE_SIDED,
    SNAPSHOT_ROW,
    VENUE_STATES,
    forward_flag,
    forward_source,
)
from volsurface.market.row_table import EVENT_RING, MAX_TEXT, MORE, SNAPSHOT, RowTable

NAN = math.nan
EPOCH = 7
FUTURE = forward_flag(FORWARD_FUTURE)


def option(number: int, venue: str = "deribit") -> Instrument:
    return Instrument(venue, f"BTC-27JUN25-{number}-C", "BTC", 1_750_000_000_000_000_000, float(number), 1, "coin")


def table_of(size: int, capacity: int = 4) -> RowTable:
    table = RowTable(EPOCH, capacity)
    table.listed([option(number) for number in range(size)], 1)
    return table


def ticker(
    table: RowTable, iid: int, bid: float = 0.1, ask: float = 0.2, *, flags: int = FUTURE, now: int = 100
) -> None:
    table.ticker(iid, flags, now - 5, now, -1, bid, ask, 3.0, 4.0, 0.15, 0.5, 0.6, 0.55, 60_000.0, 59_900.0, 12.0)


def book(table: RowTable, iid: int, bid: float = 0.11, ask: float = 0.19, *, flags: int = 0, seq: int = 9) -> None:
    table.book_top(iid, flags, 195, 200, seq, bid, ask, 1.0, 2.0)


def test_a_ticker_fills_every_field():
    table = table_of(2)
    ticker(table, 1)
    row = table.rows[1]
    assert row["version"] == table.version == 3  # after the two empty rows of the listing
    assert row.tolist()[1:] == (
        1, FUTURE, 95, 100, -1, 0.1, 0.2, 3.0, 4.0, 0.15, 0.5, 0.6, 0.55, 60_000.0, 59_900.0, 12.0,
    )  # fmt: skip
    assert forward_source(table.rows["flags"])[1] == FORWARD_FUTURE


def test_a_listed_instrument_has_an_empty_row():
    row = table_of(1).rows[0]
    assert (row["iid"], row["flags"], row["seq"], row["ts_recv_ns"]) == (0, 0, -1, 1)
    assert all(math.isnan(row[name]) for name in ("bid", "ask", "bid_sz", "mark", "iv_mark", "fwd", "index", "oi"))


@pytest.mark.parametrize(
    ("bid", "ask", "flags", "kept"),
    [
        (0.1, 0.2, 0, (0.1, 0.2)),
        (0.2, 0.1, CROSSED, (0.2, 0.1)),
        (0.2, 0.2, LOCKED, (0.2, 0.2)),
        (0.0, 0.2, ONE_SIDED, (NAN, 0.2)),
        (NAN, 0.2, ONE_SIDED, (NAN, 0.2)),
        (0.1, NAN, ONE_SIDED, (0.1, NAN)),
        (0.1, -1.0, ONE_SIDED, (0.1, NAN)),
        (0.1, math.inf, ONE_SIDED, (0.1, NAN)),
        (NAN, NAN, 0, (NAN, NAN)),
        (0.0, 0.0, 0, (NAN, NAN)),
    ],
)
@pytest.mark.parametrize("write", [ticker, book])
def test_flags_and_missing_prices_follow_from_the_prices(write, bid, ask, flags, kept):
    table = table_of(1)
    write(table, 0, bid, ask)
    row = table.rows[0]
    assert row["flags"] & (CROSSED | LOCKED | ONE_SIDED) == flags
    assert (row["bid"], row["ask"]) == pytest.approx(kept, nan_ok=True, abs=0)
    assert np.isnan(row["bid"]) == np.isnan(row["bid_sz"])
    assert np.isnan(row["ask"]) == np.isnan(row["ask_sz"])


def test_flags_of_the_codec_about_bid_and_ask_are_not_trusted():
    table = table_of(1)
    ticker(table, 0, flags=FUTURE | CROSSED | BOOK_TOP | BOOK_GAP | CLAMPED_IV)
    assert table.rows[0]["flags"] == FUTURE | CLAMPED_IV


def test_a_mark_of_zero_is_missing():
    table = table_of(1)
    table.ticker(0, 0, 1, 1, -1, 0.1, 0.2, 1, 1, 0.0, NAN, NAN, NAN, NAN, NAN, NAN)
    assert math.isnan(table.rows[0]["mark"])


def test_while_a_book_is_live_the_ticker_leaves_bid_and_ask_alone():
    table = table_of(1)
    ticker(table, 0, now=100)
    book(table, 0, 0.3, 0.2, flags=SNAPSHOT_ROW)
    row = table.rows[0]
    assert row["flags"] == FUTURE | BOOK_TOP | CROSSED | SNAPSHOT_ROW
    assert (row["mark"], row["iv_mark"], row["oi"]) == (0.15, 0.55, 12.0)
    ticker(table, 0, 0.5, 0.6, now=300, flags=forward_flag(FORWARD_SYNTHETIC) | CLAMPED_IV)
    row = table.rows[0]
    assert (row["bid"], row["ask"], row["bid_sz"], row["ask_sz"], row["seq"]) == (0.3, 0.2, 1.0, 2.0, 9)
    assert (row["ts_venue_ns"], row["ts_recv_ns"], row["mark"]) == (295, 300, 0.15)
    assert row["flags"] == forward_flag(FORWARD_SYNTHETIC) | CLAMPED_IV | BOOK_TOP | CROSSED
    book(table, 0)
    assert table.rows[0]["flags"] == forward_flag(FORWARD_SYNTHETIC) | CLAMPED_IV | BOOK_TOP


def test_a_lost_book_is_unknown_until_the_ticker_or_a_book_brings_it_back():
    table = table_of(2)
    for iid in (0, 1):
        ticker(table, iid)
        book(table, iid)
        table.book_lost(iid, 400)
        row = table.rows[iid]
        assert row["flags"] == FUTURE | BOOK_GAP
        assert math.isnan(row["bid"])
        assert math.isnan(row["ask_sz"])
        assert (row["mark"], row["seq"], row["ts_recv_ns"]) == (0.15, -1, 400)
    ticker(table, 0, 0.5, 0.6)
    assert (table.rows[0]["bid"], table.rows[0]["flags"]) == (0.5, FUTURE)
    book(table, 1)
    assert (table.rows[1]["bid"], table.rows[1]["flags"]) == (0.11, FUTURE | BOOK_TOP)


def test_a_closed_instrument_has_no_quote_until_it_is_listed_again():
    table = table_of(2)
    book(table, 1)
    table.closed(1, 500)
    version = table.version
    table.closed(1, 501)
    assert table.version == version
    assert (table.rows[1]["flags"], table.rows[1]["ts_recv_ns"]) == (CLOSED, 500)
    assert math.isnan(table.rows[1]["bid"])
    ticker(table, 1)
    assert table.rows[1]["flags"] == FUTURE | CLOSED
    book(table, 1)
    ticker(table, 1)
    assert table.rows[1]["flags"] == FUTURE | CLOSED | BOOK_TOP
    assert table.listed([option(1), option(0)], 600) == [1, 0]
    assert table.rows[1]["flags"] == 0
    assert table.version == version + 4  # the other one was open and keeps its row


def test_the_table_grows_and_keeps_what_it_has():
    table = table_of(2, capacity=1)
    ticker(table, 0)
    table.listed([option(number) for number in range(2, 100)], 2)
    ticker(table, 99, 0.7, 0.8)
    assert table.rows.size == 100
    assert (table.rows[0]["bid"], table.rows[99]["bid"]) == (0.1, 0.7)
    assert table.rows["iid"].tolist() == list(range(100))


def test_a_forward_replaces_the_one_of_its_expiry():
    table = RowTable(EPOCH)
    for expiry in range(1, 100):  # more than there is room for at first
        table.forward(FORWARD_FUTURE, "deribit", "BTC", expiry, 100.0 + expiry, 1, 2)
    table.forward(FORWARD_INDEX, "deribit", "BTC", 0, 99.0, 1, 2)
    cursor = table.version
    table.forward(FORWARD_SYNTHETIC, "deribit", "BTC", 5, 123.0, 3, 4)
    table.forward(FORWARD_SYNTHETIC, "deribit", "BTC", 6, NAN, 3, 4)
    table.forward(FORWARD_SYNTHETIC, "deribit", "BTC", 6, 0.0, 3, 4)
    assert table.reply(10, EPOCH, cursor, 0, 0).forwards.tolist() == [
        (101, FORWARD_SYNTHETIC, b"deribit", b"BTC", 5, 123.0, 3, 4)
    ]
    everything = table.reply(10, 0, 0, 0, 0).forwards
    assert everything.size == 100
    assert everything["value"][everything["expiry_ns"] == 6].tolist() == [106.0]


def test_pages_hold_the_lowest_versions_first_and_miss_nothing_that_is_rewritten_between_them():
    table = table_of(4)
    for iid in (2, 0, 3, 1):
        ticker(table, iid)
    page = table.reply(2, EPOCH, 4, 0, 77)
    assert (page.rows["iid"].tolist(), page.flags, page.cursor, page.feed_time_ns) == ([2, 0], MORE, 6, 77)
    ticker(table, 2, 0.4, 0.5)
    table.forward(FORWARD_INDEX, "deribit", "BTC", 0, 1.0, 1, 1)
    page = table.reply(2, EPOCH, page.cursor, 0, 78)
    assert (page.rows["iid"].tolist(), page.flags, page.cursor, page.forwards.size) == ([3, 1], MORE, 8, 0)
    page = table.reply(2, EPOCH, page.cursor, 0, 79)
    assert (page.rows["iid"].tolist(), page.rows["bid"].tolist(), page.flags) == ([2], [0.4], 0)
    assert (page.cursor, page.forwards.size) == (table.version, 1)
    assert not table.has_newer(EPOCH, page.cursor, 0)


@pytest.mark.parametrize("cursors", [(0, 0, 0), (EPOCH + 1, 3, 1), (EPOCH, 999, 0), (EPOCH, 0, 999)])
def test_a_cursor_this_table_never_gave_starts_with_a_snapshot(cursors):
    table = table_of(3)
    table.event("gap", 5, "warning", 1)
    page = table.reply(10, *cursors, 0)
    assert table.has_newer(*cursors)
    assert (page.flags, page.epoch, page.rows.size, page.dropped) == (SNAPSHOT, EPOCH, 3, 0)
    assert (page.events.size, page.event_cursor) == (0, 1)  # events start now
    assert (page.directory_version, page.directory_size) == (1, 3)


def test_epoch_zero_is_refused():
    with pytest.raises(ValueError, match="epoch 0"):
        RowTable(0)


def test_events_keep_their_order_and_texts():
    table = table_of(1)
    table.event("trade", 5, iid=0, value=0.1, size=-2.0, extra=0.5)
    table.event("gap", 6, "warning", 0, "change 7 after 5")
    page = table.reply(10, EPOCH, table.version, 0, 0)
    assert page.events["seq"].tolist() == [1, 2]
    assert [EVENT_KINDS[kind] for kind in page.events["kind"]] == ["trade", "gap"]
    assert page.events[0].tolist()[1:] == (5, 1, 0, 0, 0.1, -2.0, 0.5)
    assert page.events["severity"].tolist() == [0, 1]
    assert page.texts == {2: "change 7 after 5"}
    assert page.flags == 0


def test_the_text_of_an_event_is_cut_and_can_always_be_sent():
    table = table_of(1)
    table.event("reject_frame", 1, text="\ud800" + "x" * 5000)
    assert table.reply(10, EPOCH, 0, 0, 0).texts == {1: "?" + "x" * (MAX_TEXT - 1)}


def test_events_are_paged_and_one_always_goes():
    table = table_of(20)
    for number in range(10):
        table.event("reject_frame", number, text="x" * 500)
    page = table.reply(1, EPOCH, 0, 0, 0)
    assert (page.rows.size, page.events["seq"].tolist(), page.flags) == (1, [1], MORE)
    page = table.reply(20, EPOCH, 0, 1, 0)  # rows fill the page: an eighth of it is left for events
    assert (page.rows.size, page.events["seq"].tolist(), list(page.texts), page.flags) == (20, [2], [2], MORE)
    page = table.reply(20, EPOCH, table.version, 2, 0)
    assert (page.events["seq"].tolist(), page.flags) == ([3, 4, 5, 6], MORE)
    page = table.reply(20, EPOCH, table.version, page.event_cursor, 0)
    assert (page.events["seq"].tolist(), page.flags, page.event_cursor) == ([7, 8, 9, 10], 0, 10)


def test_a_wrapped_event_ring_says_how_many_were_lost():
    table = table_of(1)
    for number in range(EVENT_RING + 10):
        table.event("gap", number, text="first" if number == 0 else "")
    page = table.reply(100_000, EPOCH, table.version, 3, 0)
    assert (page.dropped, page.events["seq"][0], page.events.size) == (7, 11, EVENT_RING)
    assert page.event_cursor == EVENT_RING + 10
    assert page.texts == {}


def test_the_next_write_is_announced_once():
    table = table_of(1)
    seen = []
    writes = [
        lambda: ticker(table, 0),
        lambda: book(table, 0),
        lambda: ticker(table, 0),
        lambda: table.book_lost(0, 1),
        lambda: table.forward(FORWARD_INDEX, "deribit", "BTC", 0, 1.0, 1, 1),
        lambda: table.event("gap", 1),
        lambda: table.closed(0, 1),
        lambda: table.listed([option(5)], 1),
    ]
    for number, write in enumerate(writes):
        table.on_next_write = lambda number=number: seen.append(number)
        write()
        write()
    assert seen == list(range(len(writes)))


class Venue:
    venue, state = "deribit", "live"
    messages, rejected, gaps, reconnects, subscribed, listed = 10, 1, 2, 3, 40, 50
    last_receive_ns, last_venue_ns, superseded = 600, 590, 7


def test_venue_records_are_read_when_a_reply_is_made():
    table, venue = RowTable(EPOCH), Venue()
    table.watch(venue)
    venue.messages = 11
    (record,) = table.reply(10, EPOCH, 0, 0, 0).venues
    counts = (b"deribit", VENUE_STATES.index("live"), 600, 590, 11, 7, 1, 2, 3, 40, 50)
    assert record.tolist()[: len(counts)] == counts
    assert (record["connections"], np.isnan(record["delay_ms"])) == (1, True)
    table.health["deribit"].delay_ms, table.health["deribit"].quoted = 12.5, 7
    (record,) = table.reply(10, EPOCH, 0, 0, 0).venues
    assert (record["delay_ms"], record["quoted"]) == (12.5, 7)


def test_a_page_is_a_copy():
    table = table_of(1)
    ticker(table, 0)
    page = table.reply(10, EPOCH, 0, 0, 0)
    ticker(table, 0, 0.5, 0.6)
    assert page.rows["bid"].tolist() == [0.1]


@pytest.mark.parametrize("seed", range(8))
def test_any_consumer_ends_with_the_table_of_a_naive_twin(seed):
    """Random writes between pages of random size: two consumers' copies equal a dict that every write went to."""
    rng = random.Random(seed)
    table, twin = RowTable(EPOCH, 1), {}
    consumers = [{"rows": {}, "cursor": 0, "events": 0, "epoch": 0, "page": size} for size in (1, rng.randrange(1, 9))]
    events_written = 0
    for step in range(400):
        do = rng.random()
        if do < 0.15 or not twin:
            iids = table.listed([option(rng.randrange(40))], step)
            twin.setdefault(iids[0], (NAN, NAN))
            if table.rows[iids[0]]["ts_recv_ns"] == step:
                twin[iids[0]] = (NAN, NAN)
        elif do < 0.5:
            iid, prices = rng.choice(list(twin)), (rng.random(), rng.random() + 1)
            live = table.rows[iid]["flags"] & BOOK_TOP
            ticker(table, iid, *prices)
            twin[iid] = twin[iid] if live else prices
        elif do < 0.7:
            iid, prices = rng.choice(list(twin)), (rng.random(), rng.random() + 1)
            book(table, iid, *prices)
            twin[iid] = prices
        elif do < 0.75:
            iid = rng.choice(list(twin))
            table.book_lost(iid, step)
            twin[iid] = (NAN, NAN)
        elif do < 0.8:
            table.event("gap", step)
            events_written += 1
        else:
            read_page(table, rng.choice(consumers))
    for consumer in consumers:
        while read_page(table, consumer):
            continue
        assert sorted(consumer["rows"]) == sorted(twin)
        for iid, prices in twin.items():
            assert consumer["rows"][iid] == pytest.approx(prices, nan_ok=True, abs=0)
        assert consumer["events"] == events_written


def read_page(table: RowTable, consumer: dict) -> bool:
    page = table.reply(consumer["page"], consumer["epoch"], consumer["cursor"], consumer["events"], 0)
    assert page.rows.size <= consumer["page"]
    assert page.cursor >= consumer["cursor"]
    if page.flags & SNAPSHOT:
        consumer["rows"].clear()
    elif page.events.size:
        assert page.events["seq"][0] == consumer["events"] + page.dropped + 1
    for row in page.rows:
        consumer["rows"][int(row["iid"])] = (float(row["bid"]), float(row["ask"]))
    consumer.update(cursor=page.cursor, events=page.event_cursor, epoch=page.epoch)
    return bool(page.flags & MORE)
