"""Recorded Binance frames of December 2025 decode to the values they carry, and the venue's own numbers are reproduced."""

import json
import math
from pathlib import Path

import pytest
from binance_script import S, Script, marks, option, stream

from volsurface.pricing.black76 import black76_price
from volsurface.pricing.greeks import greeks

pytestmark = pytest.mark.recorded
EXPIRY_MS = {"251218": 1_766_044_800_000, "251219": 1_766_131_200_000}
START = 1_765_983_400 * S  # 17 December 2025, 14:56:40 UTC
UNITS = {"BTC": 1, "ETH": 1, "XRP": 100}


def frames(recorded: Path) -> list[dict]:
    lines = (recorded / "samples/binance/tardis_node_options_v2_fixtures.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def opened(recorded: Path, channels: list[str]) -> Script:
    found = {
        e["s"]
        for frame in frames(recorded)
        for e in (frame["data"] if isinstance(frame["data"], list) else [frame["data"]])
    }
    entries = [option(s, expiryDate=EXPIRY_MS[s.split("-")[1]], unit=UNITS[s.split("-")[0]]) for s in sorted(found)]
    return Script(entries, ["BTC", "ETH", "XRP"], channels).open(START)


def number(text: str) -> float:
    return float(text) if float(text) > 0 else math.nan


def test_marks_carry_what_is_written(recorded):
    script = opened(recorded, ["ticker"])
    open_interest = {}
    for frame in frames(recorded):
        if "@optionOpenInterest@" in frame["stream"]:
            open_interest |= {entry["s"]: float(entry["o"]) for entry in frame["data"]}
            script.receive(json.dumps(frame, separators=(",", ":")).encode(), START + S)
    checked = 0
    for frame in frames(recorded):
        if not frame["stream"].endswith("@optionMarkPrice"):
            continue
        script.receive(json.dumps(frame, separators=(",", ":")).encode(), START + S)
        (entry,) = frame["data"]
        unit = UNITS[entry["s"].split("-")[0]]
        row = script.sink.last("ticker")
        assert script.sink.directory[row["iid"]].symbol == entry["s"]
        expected = {
            "ts_venue_ns": entry["E"] * 1_000_000, "bid": number(entry["bo"]), "ask": number(entry["ao"]),
            "bid_sz": number(entry["bq"]) * unit, "ask_sz": number(entry["aq"]) * unit, "mark": number(entry["mp"]),
            "iv_bid": number(entry["b"]), "iv_ask": number(entry["a"]), "iv_mark": number(entry["vo"]),
            "fwd": number(entry["i"]), "index": number(entry["i"]), "oi": open_interest.get(entry["s"], math.nan) * unit,
        }  # fmt: skip
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-15, nan_ok=True)
        checked += 1
    assert checked == 2
    assert script.codec.rejected == 0


def test_a_real_mark_and_its_greeks_are_black_76_on_the_index(recorded):
    """Of the two recorded marks one is made up by who recorded it; of the other every printed digit is reproduced."""
    entry = next(f["data"][0] for f in frames(recorded) if f["stream"] == "xrpusdt@optionMarkPrice")
    script = opened(recorded, ["ticker"])
    script.receive(marks(entry, underlying="xrpusdt"), START + S)
    row = script.sink.last("ticker")
    instrument = script.sink.directory[row["iid"]]
    years = (instrument.expiry_ns - row["ts_venue_ns"]) / 1e9 / 86400 / 365
    arguments = row["fwd"], instrument.strike, years, row["iv_mark"]
    price = black76_price(*arguments, instrument.right)
    found = greeks(*arguments, "put")
    assert round(float(price) * instrument.price_unit_size, 4) == row["mark"] == float(entry["mp"])
    assert f"{found.delta:.8f}" == entry["d"]
    assert f"{found.gamma:.8f}" == entry["g"]
    assert f"{found.vega / 100:.8f}" == entry["v"]
    assert f"{found.theta / 365:.8f}" == entry["t"]


def test_books_quotes_and_trades_carry_what_is_written(recorded):
    script = opened(recorded, ["quote", "trades"])
    for frame in frames(recorded):
        data, name = frame["data"], frame["stream"]
        if name.endswith("@bookTicker"):
            script.receive(json.dumps(frame, separators=(",", ":")).encode(), START + S)
            row = script.sink.last("book_top")
            assert (row["bid"], row["bid_sz"], row["ask"], row["ask_sz"]) == tuple(float(data[k]) for k in "bBaA")
            assert (row["seq"], row["ts_venue_ns"]) == (data["u"], data["T"] * 1_000_000)
        elif name.endswith("@optionTrade"):
            coin = data["s"].split("-")[0].lower()
            script.receive(stream(f"{coin}usdt@optionTrade", data), START + S)
            event = script.sink.events("trade")[-1]
            assert script.sink.directory[event["iid"]].symbol == data["s"]
            assert (event["value"], event["size"]) == (
                float(data["p"]),
                float(data["q"]) * (-1 if data["S"] == "SELL" else 1),
            )
    assert len(script.sink.of("book_top")) == 1
    assert len(script.sink.events("trade")) == 2
    assert script.codec.rejected == 0


def test_a_recorded_depth_frame_is_a_change_like_any(recorded):
    frame = next(f for f in frames(recorded) if "@depth20@" in f["stream"])
    data, script = frame["data"], opened(recorded, ["book"])
    script.snapshots[data["s"]] = json.dumps(
        {"lastUpdateId": data["pu"], "bids": [["16.0000", "1.00"]], "asks": [["18.8000", "7.00"]], "T": data["T"] - 1}
    ).encode()
    script.codec.disconnected(START + S, "")
    script.open(START + 2 * S)
    script.receive(stream(f"{data['s'].lower()}@depth@100ms", data), START + 3 * S)
    bids, asks = script.codec.depth(script.sink.directory.iid("binance", data["s"]), 5)
    assert bids == [*((float(p), float(q)) for p, q in data["b"]), (16.0, 1.0)]
    assert asks == [(float(p), float(q)) for p, q in data["a"]]
    assert script.sink.last("book_top")["seq"] == data["u"]


def test_frames_of_the_old_api_are_rejected_and_do_no_harm(recorded):
    script = opened(recorded, ["ticker", "book", "trades"])
    lines = (recorded / "samples/binance/tardis_node_options_v1_fixtures.jsonl").read_bytes().splitlines()
    for line in lines:
        script.receive(line, START + S)
    assert script.codec.rejected == len(lines)
    assert not script.sink.of("ticker")
