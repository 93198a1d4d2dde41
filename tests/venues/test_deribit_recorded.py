"""Recorded Deribit frames decode to the values they carry: each value against a second, plain reading with json.loads."""

import gzip
import json
import math
from pathlib import Path

import pytest
from deribit_script import EXPIRY_MS, NOW, Script, encoded, option

from volsurface.market.instrument import CALL, PUT
from volsurface.market.quote import (
    BELOW_INTRINSIC,
    CLAMPED_IV,
    CROSSED,
    FORWARD_FUTURE,
    FORWARD_INDEX,
    FORWARD_SYNTHETIC,
    LOCKED,
    ONE_SIDED,
    SETTLEMENT_WINDOW,
    SNAPSHOT_ROW,
)

pytestmark = pytest.mark.recorded
NAN = math.nan
CHANNELS = ["book", "trades", "ticker"]
NOW_2021 = 1_626_993_720_000_000_000


# -- the recordings -----------------------------------------------------------------------------------------------------


def capture_lines(recorded: Path) -> list[tuple[str, int, bytes]]:
    """Return (direction, received ns, frame as sent) of every line of the options capture."""
    found = []
    for line in (recorded / "samples/deribit/options_raw_book_ticker_2021-07-22.jsonl").read_bytes().splitlines():
        head = json.loads(line)
        frame = line[line.index(b'"msg":') + 6 : -1] if "msg" in head else b""
        found.append((head["dir"], round(head["t"] * 1e9), frame))
    return found


def recording_lines(recorded: Path) -> list[tuple[str, int, bytes]]:
    """Return the same of the text recording: `url <-> time`, `url <- time: frame`, `time: frame`, `configuration: ...`."""
    found = []
    text = gzip.decompress((recorded / "market/raw_ws/deribit_ws_raw_20210722.txt.gz").read_bytes())
    for line in text.splitlines():
        stamp, _, frame = line.partition(b": ")
        if b" <-> " in line:
            found.append(("open", 0, b""))
        elif b" <- " in stamp:
            found.append(("send", 0, frame))
        elif line and not line.startswith(b"configuration"):
            found.append(("recv", round(float(stamp) * 1e9), frame))
    return found


def listings(recorded: Path, only: set[str] | None = None) -> dict[str, list[dict]]:
    """Return the recorded REST listings by currency; `only` keeps these names."""
    found = {}
    for currency in ("BTC", "ETH"):
        file = recorded / f"samples/deribit/rest_get_instruments_{currency}_2021-07-22.json.gz"
        text = gzip.decompress(file.read_bytes())
        found[currency] = [e for e in json.loads(text)["result"] if only is None or e["instrument_name"] in only]
    return found


# -- the second reading -------------------------------------------------------------------------------------------------


def number(value):
    return NAN if value is None or value <= 0 else float(value)


def quote_word(bid, ask):
    if math.isnan(bid) or math.isnan(ask):
        return 0 if math.isnan(bid) and math.isnan(ask) else ONE_SIDED
    return LOCKED if bid == ask else CROSSED if bid > ask else 0


def plain_ticker(data, iid, expiry_ms, received_ns):
    bid, ask = number(data["best_bid_price"]), number(data["best_ask_price"])
    vols = {key: number(data[key]) / 100 for key in ("bid_iv", "ask_iv", "mark_iv")}
    word = data["underlying_index"]
    source = FORWARD_SYNTHETIC if word[:4] == "SYN." else FORWARD_INDEX if word == "index_price" else FORWARD_FUTURE
    flags = source << 16 | quote_word(bid, ask)
    for price, vol in ((bid, vols["bid_iv"]), (ask, vols["ask_iv"])):
        if not math.isnan(price) and math.isnan(vol):
            flags |= BELOW_INTRINSIC
    if vols["mark_iv"] == 2.5 or vols["ask_iv"] >= 5:
        flags |= CLAMPED_IV
    if expiry_ms - data["timestamp"] <= 1_800_000:
        flags |= SETTLEMENT_WINDOW
    return {
        "iid": iid, "flags": flags, "ts_venue_ns": data["timestamp"] * 10**6, "ts_recv_ns": received_ns, "seq": -1,
        "bid": bid, "ask": ask,
        "bid_sz": NAN if math.isnan(bid) else number(data["best_bid_amount"]),
        "ask_sz": NAN if math.isnan(ask) else number(data["best_ask_amount"]),
        "mark": number(data["mark_price"]), "iv_bid": vols["bid_iv"], "iv_ask": vols["ask_iv"], "iv_mark": vols["mark_iv"],
        "fwd": number(data["underlying_price"]), "index": number(data["index_price"]), "oi": float(data["open_interest"]),
    }  # fmt: skip


class PlainReading:
    """What the sink should have been told, from json.loads and dictionaries."""

    def __init__(self, script: Script, expiries_ms: dict[str, int]):
        self.script, self.expiries_ms = script, expiries_ms
        self.books, self.forwards, self.calls = {}, {}, []

    def read(self, frame: bytes, received_ns: int) -> None:
        message = json.loads(frame)
        channel, data = message["params"]["channel"], message["params"]["data"]
        kind, name, _ = channel.split(".")
        iid = self.script.sink.directory.iid("deribit", name)
        if kind == "ticker":
            self.read_ticker(data, name, iid, received_ns)
        elif kind == "book":
            self.read_book(data, iid, received_ns)
        else:
            raise AssertionError(channel)

    def read_ticker(self, data, name, iid, received_ns):
        expiry_ms = self.expiries_ms[name]
        call = plain_ticker(data, iid, expiry_ms, received_ns)
        key = name.split("-")[0].split("_")[0], expiry_ms
        value, when = self.forwards.get(key, (None, 0))
        if value != call["fwd"] and data["timestamp"] >= when:
            self.forwards[key] = call["fwd"], data["timestamp"]
            self.calls.append(
                ("forward", {"source": call["flags"] >> 16, "venue": "deribit", "underlying": key[0], "expiry_ns": expiry_ms * 10**6,
                             "value": call["fwd"], "ts_venue_ns": call["ts_venue_ns"], "ts_recv_ns": received_ns})
            )  # fmt: skip
        self.calls.append(("ticker", call))

    def read_book(self, data, iid, received_ns):
        if data["type"] == "snapshot":
            self.books[iid] = {"bids": {}, "asks": {}}
        else:
            assert data["prev_change_id"] == self.books[iid]["last"]
        book = self.books[iid]
        book["last"] = data["change_id"]
        for side in ("bids", "asks"):
            for action, price, amount in data[side]:
                if action == "delete":
                    del book[side][price]
                else:
                    book[side][price] = amount
        bid, ask = max(book["bids"], default=NAN), min(book["asks"], default=NAN)
        flags = quote_word(bid, ask) | (SNAPSHOT_ROW if data["type"] == "snapshot" else 0)
        self.calls.append(
            ("book_top", {"iid": iid, "flags": flags, "ts_venue_ns": data["timestamp"] * 10**6,
                          "ts_recv_ns": received_ns, "seq": data["change_id"], "bid": bid, "ask": ask,
                          "bid_sz": book["bids"].get(bid, NAN), "ask_sz": book["asks"].get(ask, NAN)})
        )  # fmt: skip


def assert_same_calls(found, expected):
    """Every call and every number, exactly; repr, so that NaN equals NaN and 0.0 is not -0.0."""
    assert len(found) == len(expected)
    for n, (one, other) in enumerate(zip(found, expected)):
        assert repr(one) == repr(other), f"call {n}"


def expiries_of(entries_by_currency):
    return {e["instrument_name"]: e["expiration_timestamp"] for es in entries_by_currency.values() for e in es}


# -- tests ----------------------------------------------------------------------------------------------------------------


def test_listing_values(recorded):
    entries = listings(recorded)
    script = Script(entries, underlyings=["BTC", "ETH"], channels=CHANNELS, interval="raw").open()
    options = {e["instrument_name"]: e for es in entries.values() for e in es if e["kind"] == "option"}
    assert len(options) == 390 + 418
    assert {i.symbol for i in script.sink.directory} == set(options)
    for instrument in script.sink.directory:
        entry = options[instrument.symbol]
        base, _, strike, right = instrument.symbol.split("-")
        assert instrument.underlying == entry["base_currency"] == base
        assert instrument.strike == entry["strike"] == float(strike)
        assert instrument.right == {"call": CALL, "put": PUT}[entry["option_type"]] == {"C": CALL, "P": PUT}[right]
        assert instrument.expiry_ns == entry["expiration_timestamp"] * 10**6
        assert instrument.expiry_ns % 86_400_000_000_000 == 8 * 3600 * 10**9
        assert (instrument.tick_size, instrument.contract_size) == (entry["tick_size"], entry["contract_size"])
        assert (instrument.settlement, instrument.index_name) == ("coin", f"{base.lower()}_usd")
    assert script.codec.rejected == 0


@pytest.mark.parametrize("lines_of", [capture_lines, recording_lines])
def test_every_value_of_the_options_capture(recorded, lines_of):
    lines, entries = lines_of(recorded), listings(recorded)
    assert len(lines) == 138
    script = Script(entries, underlyings=["BTC", "ETH"], channels=CHANNELS, interval="raw").open(NOW_2021)
    plain = PlainReading(script, expiries_of(entries))
    before, acks = len(script.sink.calls), 0
    for direction, received_ns, frame in lines:
        if direction != "recv":
            continue
        if "id" in json.loads(frame):
            acks += 1  # of the recorder's own call; see the next test
            continue
        script.receive(frame, received_ns)
        plain.read(frame, received_ns)
    assert_same_calls(script.sink.calls[before:], plain.calls)
    counts = [sum(name == kind for name, _ in plain.calls) for kind in ("ticker", "book_top")]
    assert (acks, counts) == (1, [89, 46])
    assert (script.codec.rejected, script.codec.gaps) == (0, 0)
    for iid, book in plain.books.items():
        stream = script.codec._options.streams[script.sink.directory[iid].symbol]
        bids, asks = stream.book.depth(1000)
        assert (dict(bids), dict(asks)) == (book["bids"], book["asks"])
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)


def test_the_recorded_subscription_and_its_answer(recorded):
    lines = capture_lines(recorded)
    asked = json.loads(next(frame for direction, _, frame in lines if direction == "send"))["params"]["channels"]
    answer = next(frame for direction, _, frame in lines if direction == "recv")
    entries = listings(recorded, only={channel.split(".")[1] for channel in asked})
    script = Script(entries, underlyings=["BTC", "ETH"], channels=CHANNELS, interval="raw")
    script.codec.connected(NOW_2021)
    opening = script.sent(NOW_2021)
    for call in opening:
        script.codec.receive(script.answer(call), NOW_2021)
    calls = script.sent(NOW_2021)
    ours = [channel for call in calls for channel in call["params"]["channels"]]
    assert sorted(ours) == sorted(asked)
    # Both currencies' listings came in one go here, so the calls together ask for what the recorder asked for at once.
    for call in calls:
        script.codec.receive(answer.replace(b'"id":0', b'"id":%d' % call["id"]), NOW_2021)
    assert script.codec.state == "live"
    assert script.codec.dropped_channels == 0
    assert script.codec.subscribed == len(asked) + 6


FIXTURES = {
    "BTC-8JUN20-8750-P": 1591603200000, "BTC-5JUN20-9250-C": 1591344000000, "ETH-5JUN20-310-P": 1591344000000,
    "ETH-10JUN20-270-C": 1591776000000, "ETH-10SEP21-3350-P": 1631260800000, "MATIC_USDC-9MAR24-1d02-C": 1709971200000,
}  # fmt: skip


def test_mixed_fixtures_of_2019_to_2024(recorded):
    frames = (recorded / "samples/deribit/tardis_node_fixtures.jsonl").read_bytes().splitlines()
    entries = {"BTC": [], "ETH": [], "USDC": []}
    for name, expiry_ms in FIXTURES.items():
        entry = option(name, expiration_timestamp=expiry_ms)
        if "_USDC" in name:
            entry |= {
                "base_currency": "MATIC",
                "quote_currency": "USDC",
                "instrument_type": "linear",
                "price_index": "",
            }
        entries["USDC" if "_USDC" in name else name[:3]].append(entry)
    script = Script(entries, underlyings=["BTC", "ETH", "MATIC"], channels=CHANNELS, interval="raw").open(10**18)
    assert {i.symbol: i.strike for i in script.sink.directory}["MATIC_USDC-9MAR24-1d02-C"] == 1.02
    plain = PlainReading(script, FIXTURES)
    before, foreign = len(script.sink.calls), 0
    for frame in frames:
        message = json.loads(frame)
        kind, name, _ = message["params"]["channel"].split(".", 2) if "raw" in frame.decode() else ("", "", "")
        script.receive(frame, NOW)
        if name not in FIXTURES:
            foreign += 1
        elif kind == "ticker":
            plain.read(frame, NOW)
    found = [call for call in script.sink.calls[before:] if call[0] in ("ticker", "forward")]
    assert_same_calls(found, plain.calls)
    sources = [call["flags"] >> 16 for name, call in plain.calls if name == "ticker"]
    assert sources == [FORWARD_SYNTHETIC] * 4 + [FORWARD_INDEX]
    assert script.codec.rejected == foreign == len(frames) - 6
    # A change whose prev_change_id is 0 is the start of a book.
    assert script.sink.last("book_top")["bid"] == 0.019
    assert script.sink.last("book_top")["ask"] == 0.037


def nautilus(recorded: Path, name: str) -> bytes:
    return (recorded / f"samples/deribit/nautilus/{name}.json").read_bytes()


def test_indented_listings_of_2024_to_2026(recorded):
    answers = {
        "http_get_instruments": ["BTC-27DEC24-100000-C"],
        "http_get_instruments_option_combo": [],
    }
    for file, expected in answers.items():
        script = Script({"BTC": json.loads(nautilus(recorded, file))["result"]}).open()
        assert [i.symbol for i in script.sink.directory] == expected
        assert script.codec.rejected == 0
    entry = json.loads(nautilus(recorded, "http_get_instrument_option"))["result"]
    script = Script({"BTC": [option("BTC-25SEP26-60000-C")]}).open()
    script.receive(
        encoded({"method": "subscription", "params": {"channel": "instrument.creation.option.BTC", "data": entry}})
    )
    instrument = script.sink.directory[1]
    assert (instrument.symbol, instrument.strike, instrument.right) == ("BTC-27DEC24-100000-C", 100000.0, CALL)
    assert (instrument.expiry_ns, instrument.tick_size, instrument.tick_steps) == (1735300800000000000, 0.0005, ())


def perpetual_followed(channels) -> Script:
    """Return a codec for which the perpetual is an option, so that frames captured on the perpetual have a route."""
    entry = option("BTC-25SEP26-60000-C") | {"instrument_name": "BTC-PERPETUAL", "expiration_timestamp": EXPIRY_MS}
    return Script({"BTC": [entry]}, channels=channels).open()


def test_indented_market_data_frames(recorded):
    script = perpetual_followed(["ticker", "book", "trades"])
    for name in ("ws_ticker", "ws_book_snapshot", "ws_book_delta", "ws_trades"):
        script.receive(nautilus(recorded, name), NOW)
    data = json.loads(nautilus(recorded, "ws_ticker"))["params"]["data"]
    row = script.sink.last("ticker")
    assert (row["bid"], row["ask"]) == (data["best_bid_price"], data["best_ask_price"]) == (92283.5, 92284.0)
    assert (row["bid_sz"], row["ask_sz"]) == (data["best_bid_amount"], data["best_ask_amount"])
    assert (row["mark"], row["index"], row["oi"]) == (data["mark_price"], data["index_price"], data["open_interest"])
    assert math.isnan(row["fwd"])
    top = script.sink.last("book_top")
    assert (top["seq"], top["bid"], top["bid_sz"], top["ask"], top["ask_sz"]) == (
        123456790,
        42500.0,
        950.0,
        42501.5,
        700.0,
    )
    trades = json.loads(nautilus(recorded, "ws_trades"))["params"]["data"]
    found = [(event["value"], event["size"]) for event in script.sink.events("trade")]
    assert found == [(trade["price"], -trade["amount"]) for trade in trades]
    assert (script.codec.rejected, script.codec.gaps) == (0, 0)


def test_indented_quote(recorded):
    script = perpetual_followed(["quote"])
    script.receive(nautilus(recorded, "ws_quote"), NOW)
    top = script.sink.last("book_top")
    assert (top["bid"], top["bid_sz"], top["ask"], top["ask_sz"]) == (92288.0, 133440.0, 92288.5, 99470.0)


def test_other_frames(recorded):
    script = Script({"BTC": []})
    script.codec.connected(NOW)
    script.sent(NOW)
    script.receive(nautilus(recorded, "ws_test_request"), NOW)
    assert [call["method"] for call in script.sent(NOW)] == ["public/test"]
    script.receive(nautilus(recorded, "ws_error"), NOW)
    assert "10028 too_many_requests" in script.sink.last("event")["text"]
    for name in ("ws_volatility_index", "ws_book_grouped_snapshot", "ws_trades_option_combo"):
        rejected = script.codec.rejected
        script.receive(nautilus(recorded, name), NOW)
        assert script.codec.rejected == rejected + 1  # channels that were not asked for
