"""A scripted OKX: messages after the documented schemas, and the answers to a codec's requests."""

from typing import Any

from deribit_script import RecordingSink
from rest_script import EXPIRY_MS, NOW_MS, RestScript, encoded

from volsurface.venues.codec import HttpRequest
from volsurface.venues.okx import OkxCodec

CALL_60, PUT_60 = "BTC-USD-260925-60000-C", "BTC-USD-260925-60000-P"


def entry(name: str, **changes: Any) -> dict[str, Any]:
    """Return a listing entry; family, strike and right are read from the name for convenience."""
    base, quote, _, strike, right = name.split("-")
    linear = quote.endswith("_UM")
    return {
        "alias": "", "auctionEndTime": "", "baseCcy": "", "category": "1", "ctMult": "0.01", "ctType": "",
        "ctVal": "1", "ctValCcy": base, "expTime": str(EXPIRY_MS), "instFamily": f"{base}-{quote}", "instId": name,
        "instIdCode": 12, "instType": "OPTION", "lever": "", "listTime": "1734165000000", "lotSz": "1", "minSz": "1",
        "optType": right, "quoteCcy": "", "ruleType": "normal", "settleCcy": "USD" if linear else base,
        "state": "live", "stk": strike, "tickSz": "0.0001", "uly": f"{base}-{quote}",
        "futureSettlement": False, "upcChg": [],
    } | changes  # fmt: skip


def message(channel: str, data: list[Any], about: str = "", key: str = "instId", **top: Any) -> bytes:
    """Return a frame of market data."""
    arg = {"channel": channel} | ({key: about} if about else {})
    return encoded({"arg": arg} | top | {"data": data})


def ticker(name: str, bid: str = "0.0195", ask: str = "0.02", ts: int = NOW_MS, **changes: Any) -> bytes:
    """Return a `tickers` frame."""
    data = {
        "instType": "OPTION", "instId": name, "last": "0.006", "lastSz": "0", "askPx": ask, "askSz": "111",
        "bidPx": bid, "bidSz": "57", "open24h": "0.006", "high24h": "0.006", "low24h": "0.006", "sodUtc0": "0.006",
        "sodUtc8": "0.006", "volCcy24h": "0", "vol24h": "0", "ts": str(ts),
    }  # fmt: skip
    return message("tickers", [data | changes], name)


def mark(name: str, price: str = "0.0197", ts: int = NOW_MS) -> bytes:
    """Return a `mark-price` frame."""
    return message("mark-price", [{"instId": name, "instType": "OPTION", "markPx": price, "ts": str(ts)}], name)


def open_interest(name: str, oi: str, ts: int = NOW_MS) -> bytes:
    """Return an `open-interest` frame."""
    data = {"instId": name, "instType": "OPTION", "oi": oi, "oiCcy": "1", "oiUsd": "1", "ts": str(ts)}
    return message("open-interest", [data], name)


def index(name: str = "BTC-USD", price: str = "64000.5", ts: int = NOW_MS) -> bytes:
    """Return an `index-tickers` frame."""
    return message("index-tickers", [{"instId": name, "idxPx": price, "open24h": "1", "ts": str(ts)}], name)


def summary_entry(name: str, ts: int = NOW_MS, **changes: Any) -> dict[str, Any]:
    """Return an entry of `opt-summary`."""
    return {
        "instType": "OPTION", "instId": name, "uly": "BTC-USD", "delta": "-1.1180902625", "gamma": "2.2361957091",
        "vega": "0.0000000001", "theta": "0.0000032334", "lever": "8.465747567", "markVol": "0.3675503331",
        "bidVol": "0.35", "askVol": "0.3875", "realVol": "", "deltaBS": "-0.9999672034", "gammaBS": "0.0000000002",
        "thetaBS": "28.2649858387", "vegaBS": "0.0000114332", "ts": str(ts), "fwdPx": "62604.6993093463",
        "volLv": "0.2044711229",
    } | changes  # fmt: skip


def summaries(*entries: Any, family: str = "BTC-USD") -> bytes:
    """Return an `opt-summary` frame."""
    return message("opt-summary", list(entries), family, "instFamily")


def book(
    name: str, action: str, previous: int | None, seq: int | None, bids: Any = (), asks: Any = (), ts: int = NOW_MS
) -> bytes:
    """Return a `books` frame; levels are (price, size) as text."""
    data = {
        "asks": [[p, s, "0", "1"] for p, s in asks], "bids": [[p, s, "0", "1"] for p, s in bids], "ts": str(ts),
        "checksum": 0, "prevSeqId": previous, "seqId": seq,
    }  # fmt: skip
    return message("books", [{k: v for k, v in data.items() if v is not None}], name, action=action)


def best(name: str, seq: int, bid: tuple[str, str], ask: tuple[str, str], ts: int = NOW_MS) -> bytes:
    """Return a `bbo-tbt` frame."""
    data = {"asks": [[*ask, "0", "1"]], "bids": [[*bid, "0", "1"]], "ts": str(ts), "seqId": seq}
    return message("bbo-tbt", [data], name)


class OkxScript(RestScript):
    """An OKX that lists `entries` by family and answers every argument; `unknown` instruments get 60018."""

    def __init__(
        self,
        entries: list[dict[str, Any]],
        underlyings: tuple[str, ...] = ("BTC",),
        channels: tuple[str, ...] = ("ticker", "book"),
        unknown: tuple[str, ...] = (),
        sink: Any = None,
        **options: Any,
    ) -> None:
        self.sink = RecordingSink() if sink is None else sink
        super().__init__(
            OkxCodec(underlyings, channels, self.sink, rest_url="http://okx.test", **options), self.listing, self.answer
        )
        self.entries = entries
        self.unknown = unknown

    def listing(self, request: HttpRequest) -> tuple[int, bytes]:
        """Answer a GET of a listing."""
        family = request.url.rpartition("instFamily=")[2]
        found = [e for e in self.entries if e["instFamily"] == family]
        return 200, encoded({"code": "0", "msg": "", "data": found})

    def answer(self, frame: Any) -> list[bytes]:
        """Answer a request, one message per argument."""
        if frame == b"ping":
            return [b"pong"]
        answers = []
        for arg in frame["args"]:
            if arg.get("instId") in self.unknown and frame["op"] == "subscribe":
                text = (
                    f"Wrong URL or channel:{arg['channel']}, instId:{arg['instId']} doesn't exist. Please use the "
                    "correct URL, channel and parameters referring to API document."
                )
                answer = {"id": frame["id"], "event": "error", "code": "60018", "msg": text, "connId": "a4d3ae55"}
            else:
                answer = {"id": frame["id"], "event": frame["op"], "arg": arg, "connId": "a4d3ae55"}
            answers.append(encoded(answer))
        return answers


def arguments(frames: list[Any], op: str = "subscribe") -> list[dict[str, str]]:
    """Return the arguments of all requests of one kind."""
    return [arg for frame in frames if frame != b"ping" and frame["op"] == op for arg in frame["args"]]
