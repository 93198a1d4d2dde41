"""Recorded OKX messages and listings decode to the values they carry, each against a second, plain reading."""

import gzip
import json
import math
from datetime import UTC, datetime
from zlib import crc32

import pytest
from okx_script import OkxScript, entry
from rest_script import MS, S, encoded

from volsurface.market.instrument import CALL, PUT
from volsurface.market.quote import FORWARD_INDEX

pytestmark = pytest.mark.recorded
NAN = math.nan
FIXTURES = "samples/okx/tardis_node_options_v5_fixtures.jsonl"
AT_2021 = 1_640_001_600 * S


def number(text):
    return float(text) if text not in ("", "0") else NAN


def fixtures(recorded):
    """Return the recorded messages; the family's argument was called otherwise in 2021."""
    lines = (recorded / FIXTURES).read_bytes().splitlines()
    frames = [line.replace(b'"uly":"ETH-USD"},"data"', b'"instFamily":"ETH-USD"},"data"') for line in lines]
    return [(json.loads(frame), frame) for frame in frames]


def listed_in(messages):
    """Return listing entries of all options that occur, with the contract sizes of those days."""
    names = {m["arg"]["instId"] for m in messages if m["arg"].get("instId", "").endswith(("-C", "-P"))}
    names |= {e["instId"] for m in messages if m["arg"]["channel"] == "opt-summary" for e in m["data"]}
    found = []
    for name in sorted(names):
        expiry = datetime.strptime(name.split("-")[2], "%y%m%d").replace(hour=8, tzinfo=UTC)
        found.append(entry(name, ctMult="0.1", expTime=str(round(expiry.timestamp() * 1000))))
    return found


def opened(messages, **options):
    script = OkxScript(listed_in(messages), underlyings=("ETH", "BTC"), **options)
    return script.open(AT_2021)


def test_recorded_messages_of_options(recorded):
    both = fixtures(recorded)
    script = opened([message for message, _ in both])
    sink = script.sink
    for message, frame in both:
        channel, data = message["arg"]["channel"], message["data"]
        if channel in ("trades", "books-l2-tbt"):
            continue  # channels that are not followed
        before = len(sink.of("ticker"))
        script.receive(frame, now_ns=AT_2021 + S)
        rows = sink.of("ticker")[before:]
        if channel == "index-tickers":
            forward = sink.last("forward")
            wanted = (FORWARD_INDEX, "ETH", 0, float(data[0]["idxPx"]), int(data[0]["ts"]) * MS)
            assert tuple(forward[k] for k in ("source", "underlying", "expiry_ns", "value", "ts_venue_ns")) == wanted
            continue
        assert len(rows) == len(data)
        for row, each in zip(rows, data, strict=True):
            assert sink.directory[row["iid"]].symbol == each["instId"]
            wanted = {
                "tickers": lambda e: {
                    "bid": number(e["bidPx"]), "ask": number(e["askPx"]), "bid_sz": number(e["bidSz"]) / 10,
                    "ask_sz": number(e["askSz"]) / 10,
                },
                "mark-price": lambda e: {"mark": NAN},  # 3.8 coins for a call: recorded, and impossible
                "open-interest": lambda e: {"oi": float(e["oiCcy"])},
                "opt-summary": lambda e: {
                    "iv_bid": number(e["bidVol"]), "iv_ask": number(e["askVol"]), "iv_mark": number(e["markVol"]),
                    "fwd": NAN,
                },
            }[channel](each)  # fmt: skip
            assert {name: row[name] for name in wanted} == pytest.approx(wanted, nan_ok=True, rel=1e-15)
    assert script.codec.rejected == 0


def normal(x):
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def test_recorded_vols_reproduce_marks_and_greeks(recorded):
    """S = vegaBS / vega; the rate that explains deltaBS then explains mark, gamma and vega too (undiscounted, 08:00 UTC)."""
    checked = 0
    for message, _ in fixtures(recorded):
        for e in message["data"] if message["arg"]["channel"] == "opt-summary" else ():
            _, _, day, strike, letter = e["instId"].split("-")
            expiry = datetime.strptime(day, "%y%m%d").replace(hour=8, tzinfo=UTC)
            years = (expiry.timestamp() - int(e["ts"]) / 1000) / (365 * 86400)
            value = {name: float(text) for name, text in e.items() if name[0] in "dgvtlm" and text}
            spot, vol, right, k = (
                value["vegaBS"] / value["vega"],
                value["markVol"],
                {"C": 1, "P": -1}[letter],
                float(strike),
            )
            premium_adjusted_gamma = value["gammaBS"] * spot - 2 * value["delta"]
            assert premium_adjusted_gamma == pytest.approx(value["gamma"], rel=1e-5)
            if years * 365 < 1:
                continue  # its forward is not the spot's any more
            std_dev = vol * math.sqrt(years)
            low, high = spot * 0.9, spot * 1.1
            for _ in range(100):
                forward = 0.5 * (low + high)
                d1 = math.log(forward / k) / std_dev + 0.5 * std_dev
                low, high = (forward, high) if right * normal(right * d1) < value["deltaBS"] else (low, forward)
            density = math.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi)
            assert 0 < math.log(forward / spot) / years < 0.2
            assert spot * density * math.sqrt(years) / 100 == pytest.approx(value["vegaBS"], rel=3e-3)
            assert density / (spot * std_dev) == pytest.approx(value["gammaBS"], rel=3e-3)
            mark = right * (normal(right * d1) - k / forward * normal(right * (d1 - std_dev)))
            if value["lever"] < 2000:  # which is the smallest tick, not the mark
                assert 1 / value["lever"] == pytest.approx(mark, rel=2e-4)
                assert value["deltaBS"] - mark == pytest.approx(value["delta"], abs=2e-4)
            checked += 1
    assert checked == 2


@pytest.mark.parametrize(("coin", "count", "contract_size"), [("BTC", 346, 0.1), ("ETH", 350, 1.0)])
def test_recorded_listings_of_2022(recorded, coin, count, contract_size):
    path = recorded / f"samples/okx/rest_instruments_OPTION_{coin}-USD_2022-05-13.json.gz"
    body = gzip.decompress(path.read_bytes())
    entries = {e["instId"]: e for e in json.loads(body)["data"]}
    script = OkxScript([], underlyings=(coin,))
    script.http = lambda request: (200, body)
    script.open(1_652_459_224 * S)
    assert (script.codec.listed, script.codec.rejected) == (count, 0)
    for instrument in script.sink.directory:
        e = entries.pop(instrument.symbol)
        _, _, day, strike, letter = instrument.symbol.split("-")
        expiry = datetime.strptime(day, "%y%m%d").replace(hour=8, tzinfo=UTC)
        assert instrument.expiry_ns == int(expiry.timestamp()) * S == int(e["expTime"]) * MS
        assert (instrument.strike, instrument.right) == (float(strike), {"C": CALL, "P": PUT}[letter])
        assert (instrument.contract_size, instrument.underlying) == (contract_size, coin)
    assert not entries


def test_recorded_listing_of_2024_has_smaller_contracts(recorded):
    body = (recorded / "samples/okx/nautilus/http_get_instruments_option.json").read_bytes()
    script = OkxScript([])
    script.http = lambda request: (200, body)
    script.open(1_734_166_000 * S)
    assert {(i.strike, i.right, i.contract_size, i.tick_size) for i in script.sink.directory} == {
        (strike, right, 0.01, 0.0001) for strike in (92000.0, 94000.0) for right in (CALL, PUT)
    }


def test_recorded_quotes_stand_on_the_ticks_of_the_listing(recorded):
    script = OkxScript([entry("BTC-USD-260925-60000-C")]).open()
    ((above, coarse),) = script.sink.directory[0].tick_steps
    fine, seen = script.sink.directory[0].tick_size, 0
    for path in sorted((recorded / "market/okx").glob("*.csv.gz")):
        header, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
        columns = header.split(",")
        for row in rows:
            cells = dict(zip(columns, row.split(","), strict=True))
            for price in (float(cells[side]) for side in ("bid", "ask") if cells[side]):
                steps = price / (coarse if price >= above else fine)
                assert steps == pytest.approx(round(steps), abs=1e-6), cells
                seen += 1
    assert seen > 200


def checksum(bids, asks):
    """Return the checksum of those days: signed CRC-32 of the best 25 levels, as they were written."""
    best = sorted(bids, key=float, reverse=True)[:25], sorted(asks, key=float)[:25]
    parts = []
    for i in range(25):
        for side, prices in ((bids, best[0]), (asks, best[1])):
            if i < len(prices):
                parts += [prices[i], side[prices[i]]]
    value = crc32(":".join(parts).encode())
    return value - (1 << 32) if value >> 31 else value


def test_recorded_books_have_the_venues_own_checksum_after_every_message(recorded):
    """A capture of other products, from before there were sequence numbers: the same messages, and a second reading."""
    names = {"BTC-USDT", "UNI-USD-SWAP", "BTC-USD-220527"}
    entries = [entry("BTC-USD-260925-60000-C", instId=name, ctMult="1") for name in sorted(names)]
    script = OkxScript(entries).open()
    mine: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    messages = 0
    for line in (recorded / "samples/okx/books_tickers_trades_2022-05-13.jsonl").read_bytes().splitlines():
        head = json.loads(line)
        message = head.get("msg")
        if head["dir"] != "recv" or message.get("arg", {}).get("channel") != "books" or "data" not in message:
            continue
        name, data = message["arg"]["instId"], message["data"][0]
        if message["action"] == "snapshot":
            mine[name] = ({}, {})
        for side, levels in zip(mine[name], (data["bids"], data["asks"]), strict=True):
            for price, size, *_ in levels:
                if size == "0":
                    side.pop(price, None)
                else:
                    side[price] = size
        assert checksum(*mine[name]) == data["checksum"]
        script.receive(encoded(message))
        iid = script.sink.directory.iid("okx", name)
        bids, asks = (sorted((float(p), float(s)) for p, s in side.items()) for side in mine[name])
        assert script.codec.depth(iid, 1000) == (bids[::-1], asks)
        messages += 1
    assert messages == 290
    assert (script.codec.gaps, script.codec.rejected) == (0, 0)
