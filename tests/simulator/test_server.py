"""The simulated venue as a client meets it: every documented behaviour, over a real socket."""

import asyncio
import json
import ssl
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from raw_client import PATIENCE_S, NaiveBook, RawClient
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from volsurface.simulator.deribit_limits import Limits
from volsurface.simulator.server import text_frame

EIGHT = int(datetime(2026, 11, 20, 8, 0, tzinfo=UTC).timestamp()) * 10**9


class ShiftedClock:
    """The machine's clock, set to another time and moved on at will."""

    def __init__(self, start_ns: int) -> None:
        self.shift_ns = start_ns - time.time_ns()

    def now_ns(self) -> int:
        return time.time_ns() + self.shift_ns


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def closed_with(client: RawClient) -> tuple[int, str]:
    """Read until the venue closes; return the code and the reason of its close frame (1006 when there was none)."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                await client.socket.recv()
        except ConnectionClosed as closed:
            return (1006, "") if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)


# ---- calls ----


async def test_calls_are_answered_in_the_envelope_of_the_venue(start_venue, join) -> None:
    client = await join(await start_venue())
    answer = await client.answer("public/get_time")
    assert answer.keys() == {"jsonrpc", "id", "result", "usIn", "usOut", "usDiff", "testnet"}
    assert answer["usDiff"] == answer["usOut"] - answer["usIn"] >= 0
    assert abs(answer["result"] - answer["usIn"] // 1000) < 5000
    assert answer["testnet"] is True
    assert (await client.call("public/test"))["version"]
    await client.socket.send('{"jsonrpc":"2.0","method":"public/test"}')
    assert "id" not in await client.receive()


async def test_mistakes_are_answered_with_the_documented_codes(start_venue, join) -> None:
    client = await join(await start_venue())
    assert await client.error("public/nonsense") == {"code": -32601, "message": "Method not found"}
    missing = await client.error("public/get_instruments")
    assert (missing["code"], missing["message"], missing["data"]["param"]) == (-32602, "Invalid params", "currency")
    assert (await client.error("public/get_instruments", currency="XYZ"))["code"] == -32602
    assert (await client.error("public/subscribe", channels="ticker"))["data"]["param"] == "channels"
    assert (await client.error("public/ticker", instrument_name="BTC-1JAN20-1-C"))["code"] == 13020
    assert (await client.error("private/subscribe", channels=[]))["code"] == 13009
    await client.socket.send("this is not JSON {")
    error = (await client.receive())["error"]
    assert error == {"code": 11050, "message": "bad_request", "data": "invalid json"}
    assert await client.call("public/test"), "the socket stays open"


async def test_another_path_is_refused(start_venue) -> None:
    venue = await start_venue()
    with pytest.raises(InvalidStatus) as refused:
        await connect(venue.url.replace("/ws/api/v2", "/elsewhere"))
    assert refused.value.response.status_code == 404


async def test_the_listing_and_the_summary_agree(start_venue, join) -> None:
    venue = await start_venue(("BTC", "ETH"))
    client = await join(venue)
    names = await client.symbols("ETH")
    assert names and all(name.startswith("ETH-") for name in names)
    summary = await client.call("public/get_book_summary_by_currency", currency="ETH", kind="option")
    assert [entry["instrument_name"] for entry in summary] == names
    assert await client.call("public/get_instruments", currency="USDC", kind="option") == []
    both = await client.call("public/get_instruments", currency="any")
    assert len(both) == len(venue.host.market.options)
    expirations = await client.call("public/get_expirations", currency="BTC", kind="option")
    labels = list(dict.fromkeys(name.split("-")[1] for name in await client.symbols("BTC")))
    assert expirations == {"btc": {"option": labels}}
    index = await client.call("public/get_index_price", index_name="btc_usd")
    assert index["index_price"] == pytest.approx(venue.host.market.smiles["BTC"].spot, rel=1e-3)
    ticker = await client.call("public/ticker", instrument_name=names[40])
    book = await client.call("public/get_order_book", instrument_name=names[40], depth=1)
    assert ticker["instrument_name"] == book["instrument_name"] == names[40]
    assert len(book["bids"]) <= 1 and "change_id" in book


async def test_too_many_calls_end_the_session(start_venue, join) -> None:
    client = await join(await start_venue(limits=Limits(call_pool=2000.0, refill_per_s=0.0)))
    for _ in range(4):
        await client.call("public/test")
    error = await client.error("public/test")
    assert (error["code"], error["message"]) == (10028, "too_many_requests")
    assert (await closed_with(client))[0] != 1006


async def test_subscribing_too_often_does_too(start_venue, join) -> None:
    client = await join(await start_venue(limits=Limits(refill_per_s=0.0)))
    for _ in range(10):
        await client.subscribe("platform_state")
    assert (await client.error("public/subscribe", channels=[]))["code"] == 10028


# ---- subscriptions ----


async def test_the_answer_lists_known_channels_in_another_order_and_drops_the_others(start_venue, join) -> None:
    client = await join(await start_venue())
    one, two, *_ = await client.symbols()
    asked = [f"book.{one}.100ms", f"ticker.{two}.100ms", f"ticker.{one}.agg2", f"quote.{two}"]
    unknown = [
        f"ticker.{one}.50ms",
        "ticker.BTC-1JAN20-1-C.100ms",
        f"book.{one}.none.50.100ms",
        "nonsense",
        "trades.option.XYZ.100ms",
    ]
    got = await client.subscribe(*asked, *unknown)
    assert set(got) == set(asked)
    assert got != asked
    assert await client.subscribe("nonsense") == []


async def test_raw_intervals_need_a_login(start_venue, join) -> None:
    venue = await start_venue()
    client = await join(venue)
    name = (await client.symbols())[0]
    error = await client.error("public/subscribe", channels=[f"ticker.{name}.100ms", f"book.{name}.raw"])
    assert error == {"code": 13778, "message": "raw_subscriptions_not_available_for_unauthorized"}
    assert [link.session.channels for link in venue.host.links] == [{}], "nothing of a refused call is subscribed"


async def test_a_snapshot_follows_the_answer_and_a_repetition_brings_none(start_venue, join) -> None:
    venue = await start_venue()
    client = await join(venue)
    option = next(option for option in venue.host.market.options if option.book.bids)
    channel = f"book.{option.symbol}.100ms"

    def snapshots() -> int:
        return sum(data["type"] == "snapshot" for data in client.data(channel))

    await client.subscribe(channel)
    assert not client.data(channel), "the answer comes first"
    snapshot = (await client.receive())["params"]["data"]
    assert snapshot["type"] == "snapshot" and "prev_change_id" not in snapshot
    assert [level[1] for level in snapshot["bids"]] == sorted((level[1] for level in snapshot["bids"]), reverse=True)
    assert {level[0] for level in snapshot["bids"] + snapshot["asks"]} == {"new"}
    assert await client.subscribe(channel) == [channel]
    await client.until(lambda m: m.get("method") == "subscription" and m["params"]["data"]["type"] == "change")
    assert snapshots() == 1
    assert await client.call("public/unsubscribe", channels=[channel, "nonsense"]) == [channel]
    count = len(client.data(channel))
    await client.call("public/get_time")
    assert len(client.data(channel)) == count
    await client.subscribe(channel)
    await client.receive()
    assert snapshots() == 2
    assert await client.call("public/unsubscribe_all") == "ok"


async def test_books_rebuilt_from_changes_are_the_venues_books(start_venue, join) -> None:
    venue = await start_venue(rate=8000.0)
    client = await join(venue)
    names = await client.symbols()
    channels = [f"book.{name}.100ms" for name in names]
    for start in range(0, len(channels), 500):
        await client.subscribe(*channels[start : start + 500])
    await eventually_received(client, 12_000)
    venue.host.faults.inject("silence", time.time_ns(), 60.0)
    await client.call("public/test")  # all that was published has come before this answer
    books = {option.symbol: NaiveBook() for option in venue.host.market.options}
    changes = 0
    for message in client.received:
        if message.get("method") == "subscription":
            data = message["params"]["data"]
            books[data["instrument_name"]].apply(data)
            changes += data["type"] == "change"
    for option in venue.host.market.options:
        book = books[option.symbol]
        assert book.gaps == 0
        assert book.change_id == option.book.change_id
        assert {round(p * 1e4): a for p, a in book.bids.items()} == option.book.bids
        assert {round(p * 1e4): a for p, a in book.asks.items()} == option.book.asks
    assert changes > 10_000


async def eventually_received(client: RawClient, count: int) -> None:
    while len(client.received) < count:
        await client.receive()


async def test_tickers_stay_within_reach_of_the_truth(start_venue, join) -> None:
    """What the venue publishes under full movement: true vol between bid and ask vol in nearly every two-sided ticker."""
    venue = await start_venue(rate=8000.0)
    client = await join(venue)
    names = await client.symbols()
    for start in range(0, len(names), 500):
        await client.subscribe(*[f"ticker.{name}.100ms" for name in names[start : start + 500]])
    await eventually_received(client, 12_000)
    inside = total = 0
    for message in client.received:
        ticker = message["params"]["data"] if message.get("method") == "subscription" else {}
        if ticker.get("bid_iv") and ticker.get("ask_iv"):
            total += 1
            inside += ticker["bid_iv"] - 0.01 <= ticker["mark_iv"] <= ticker["ask_iv"] + 0.01
    assert total > 8000
    assert inside / total > 0.98


async def test_the_chain_channels_come_about_once_a_second(start_venue, join) -> None:
    venue = await start_venue(("BTC", "ETH"))
    client = await join(venue)
    asked = [
        "deribit_price_index.btc_usd", "markprice.options.eth_usd", "deribit_volatility_index.btc_usd",
        "trades.option.any.100ms", "instrument.state.option.BTC", "platform_state",
    ]  # fmt: skip
    assert set(await client.subscribe(*asked)) == set(asked)
    await client.until(lambda m: "trades.option.any.100ms" in str(m))
    index = client.data("deribit_price_index.btc_usd")[0]
    assert index.keys() == {"timestamp", "price", "index_name"}
    marks = client.data("markprice.options.eth_usd")[0]
    assert len(marks) == len([option for option in venue.host.market.options if option.underlying == "ETH"])
    assert 0.3 < marks[200]["iv"] < 3.0, "a fraction"
    assert 20 < client.data("deribit_volatility_index.btc_usd")[0]["volatility"] < 100
    trade = client.data("trades.option.any.100ms")[0][0]
    assert {"trade_seq", "trade_id", "price", "amount", "direction", "iv", "index_price", "mark_price"} <= trade.keys()


async def test_two_clients_get_their_own_channels(start_venue, join) -> None:
    venue = await start_venue(rate=500.0)
    one, two = await join(venue), await join(venue)
    names = await one.symbols()
    await one.subscribe(f"ticker.{names[0]}.100ms")
    await two.subscribe(f"ticker.{names[1]}.100ms")
    await eventually_received(two, 20)
    await eventually_received(one, 20)
    assert not one.data(f"ticker.{names[1]}.100ms") and not two.data(f"ticker.{names[0]}.100ms")
    await one.socket.close()
    await eventually(lambda: len(venue.host.links) == 1)
    await two.receive()


# ---- heartbeats and the end of connections ----

QUICK = Limits(heartbeat_min_s=0.05, answer_s=0.15)


async def test_an_unanswered_heartbeat_closes_with_4000(start_venue, join) -> None:
    client = await join(await start_venue(limits=QUICK))
    assert await client.call("public/set_heartbeat", interval=0.05) == "ok"
    message = await client.until(lambda m: m["params"]["type"] == "test_request")
    assert message == {"params": {"type": "test_request"}, "method": "heartbeat", "jsonrpc": "2.0"}
    assert await closed_with(client) == (4000, "heartbeat close")


async def test_a_silent_socket_gets_a_heartbeat_beside_the_request(start_venue, join) -> None:
    client = await join(await start_venue(limits=Limits(heartbeat_min_s=0.05)))
    await client.call("public/set_heartbeat", interval=0.05)
    await client.until(lambda m: m["params"]["type"] == "heartbeat")
    await client.until(lambda m: m["params"]["type"] == "test_request")


async def test_an_answered_heartbeat_goes_on(start_venue, join) -> None:
    client = await join(await start_venue(limits=QUICK))
    await client.call("public/set_heartbeat", interval=0.05)
    for _ in range(8):  # longer than an unanswered one lives
        await client.until(lambda m: m.get("params", {}).get("type") == "test_request")
        await client.call("public/test")
    await client.call("public/disable_heartbeat")
    client.received.clear()
    await asyncio.sleep(0.2)
    await client.call("public/test")
    assert [m for m in client.received if m.get("method") == "heartbeat"] == []


async def test_a_heartbeat_faster_than_ten_seconds_is_refused(start_venue, join) -> None:
    client = await join(await start_venue())
    for interval in (9, "10", None):
        error = await client.error("public/set_heartbeat", interval=interval)
        assert (error["code"], error["data"]["param"]) == (-32602, "interval")
    assert await client.call("public/set_heartbeat", interval=10) == "ok"


async def test_an_idle_socket_is_cut_and_a_subscribed_one_is_not(start_venue, join) -> None:
    venue = await start_venue(limits=Limits(idle_s=0.1))
    idle, listening = await join(venue), await join(venue)
    await listening.subscribe("platform_state")
    assert await closed_with(idle) == (1006, "")
    assert await listening.call("public/test")


async def test_a_client_that_stops_reading_is_dropped(start_venue, join) -> None:
    venue = await start_venue(rate=50_000.0, backlog_bytes=300_000, close_s=0.5)
    client = await join(venue, max_queue=1)
    names = await client.symbols()
    await client.socket.send(
        json.dumps(
            {"id": 9, "method": "public/subscribe", "params": {"channels": [f"ticker.{n}.100ms" for n in names]}}
        )
    )
    await eventually(lambda: (4000, "connection_too_slow") in venue.closed)
    await eventually(lambda: not venue.host.links)
    code, reason = await closed_with(client)
    assert (code, reason) in ((4000, "connection_too_slow"), (1006, ""))


# ---- expiry and listing ----


async def test_at_eight_expired_options_end_and_new_ones_are_announced(start_venue, join) -> None:
    clock = ShiftedClock(EIGHT - 60 * 10**9)
    venue = await start_venue(clock=clock, rate=5000.0)
    client = await join(venue)
    before = await client.symbols()
    dying = [name for name in before if "-20NOV26-" in name]
    assert dying
    tickers = [f"ticker.{name}.100ms" for name in before[:200]]
    await client.subscribe("instrument.state.option.BTC", "instrument.creation.option.any", *tickers)
    clock.shift_ns += 61 * 10**9
    created: dict[str, Any] = {}

    def all_created(message: dict[str, Any]) -> bool:
        params = message.get("params", {})
        if params.get("channel") == "instrument.creation.option.any":
            created[params["data"]["instrument_name"]] = params["data"]
        return "24NOV26" in str(created.keys()) and params.get("channel", "").startswith("ticker.")

    await client.until(all_created)
    after = await client.symbols()
    assert not set(dying) & set(after)
    assert set(after) - set(before) == set(created)
    states = client.data("instrument.state.option.BTC")
    assert {s["instrument_name"] for s in states if s["state"] == "delivered"} == set(dying)
    assert {s["instrument_name"] for s in states if s["state"] == "open"} == set(created)
    end = max(i for i, m in enumerate(client.received) if '"delivered"' in json.dumps(m))
    later = client.received[end:]
    assert not [m for m in later if m.get("params", {}).get("data", {}) and "-20NOV26-" in m["params"]["channel"]]
    new = next(iter(created))
    assert await client.subscribe(f"ticker.{new}.100ms", f"ticker.{dying[0]}.100ms") == [f"ticker.{new}.100ms"]


# ---- only a simulator ----


async def ask(venue: Any, target: str) -> tuple[int, Any]:
    """GET from the port of the venue, as a REST client does."""
    url = venue.url.replace("ws://", "http://").replace("/ws/api/v2", target)
    try:
        answer = await asyncio.to_thread(urllib.request.urlopen, url, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    with answer:
        return answer.status, json.loads(answer.read())


async def test_it_says_that_it_is_a_simulator_and_tells_the_truth(start_venue, join) -> None:
    venue = await start_venue(("BTC", "ETH"), seed=21)
    client = await join(venue)
    status, about = await ask(venue, "/volsurface/about")
    assert status == 200 and about["simulator"] is True and about["seed"] == 21 and about["venue"] == "deribit"
    name = (await client.symbols("ETH"))[300]
    _, truth = await ask(venue, f"/volsurface/truth?instruments={name}")
    assert truth["surfaces"].keys() == {"BTC", "ETH"}
    smiles = truth["surfaces"]["ETH"]["smiles"]
    assert len(smiles) == len(venue.host.market.expiries["ETH"])
    assert smiles[0].keys() == {"expiry_ns", "years", "forward", "a", "b", "rho", "m", "sigma"}
    market = venue.host.market
    assert truth["vols"][name] == pytest.approx(market.true_vol(market.by_symbol[name]), rel=0.01)
    assert (await ask(venue, "/elsewhere"))[0] == (await ask(venue, "/volsurface/elsewhere"))[0] == 404


async def test_faults_on_demand(start_venue, join) -> None:
    venue = await start_venue(rate=4000.0, limits=Limits(heartbeat_min_s=0.05))
    client = await join(venue)
    name = next(option.symbol for option in venue.host.market.options if option.book.bids)
    await client.subscribe(f"book.{name}.100ms")
    assert await ask(venue, f"/volsurface/fault?name=gap&instrument={name}") == (200, {"done": True})
    book = NaiveBook()
    while not book.gaps:
        message = await client.receive()
        if message.get("method") == "subscription":
            try:
                book.apply(message["params"]["data"])
            except (AssertionError, KeyError):  # the level that the lost change had made or removed
                break
    await ask(venue, "/volsurface/fault?name=heartbeat_storm")
    for _ in range(5):
        await client.until(lambda m: m.get("params", {}).get("type") == "test_request")
        await client.call("public/test")
    await ask(venue, "/volsurface/fault?name=silence&seconds=60")
    await client.call("public/get_time")
    client.received.clear()
    await asyncio.sleep(0.1)
    await client.call("public/get_time")
    assert [m for m in client.received if m.get("method") == "subscription"] == []
    status, refusal = await ask(venue, "/volsurface/fault?name=flood")
    assert status == 400 and "gap" in refusal["error"]
    await ask(venue, "/volsurface/fault?name=garbage")
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        await client.receive()
    await ask(venue, "/volsurface/fault?name=outage&seconds=60")
    assert await closed_with(client) == (1006, "")
    with pytest.raises(InvalidStatus) as refused:
        await connect(venue.url)
    assert refused.value.response.status_code == 503


async def test_faults_at_random_rates(start_venue, join) -> None:
    venue = await start_venue(faults={"garbage": 200.0})
    client = await join(venue)
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        await client.receive()
    assert venue.host.faults.counts["garbage"] > 0


# ---- the program's own connection ----


@pytest.mark.parametrize("size", [0, 1, 125, 126, 700, 65535, 65536])
def test_a_websocket_frame_has_the_length_of_rfc_6455(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[0] == 0x81
    if size < 126:
        assert frame[1] == size and len(frame) == 2 + size
    elif size < 65536:
        assert frame[1] == 126 and struct.unpack(">H", frame[2:4]) == (size,) and len(frame) == 4 + size
    else:
        assert frame[1] == 127 and struct.unpack(">Q", frame[2:10]) == (size,) and len(frame) == 10 + size


def self_signed(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's TLS context around a certificate made now."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "venue.pem"
    path.write_bytes(key_pem + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_it_speaks_tls(start_venue, join, tmp_path) -> None:
    server, client_context = self_signed(tmp_path)
    venue = await start_venue(ssl=server, rate=5000.0)
    assert venue.url.startswith("wss://")
    url = venue.url.replace("127.0.0.1", "localhost")
    client = await join(venue, url=url, ssl=client_context)
    names = await client.symbols()
    await client.subscribe(*[f"ticker.{name}.100ms" for name in names[:300]])
    await eventually_received(client, 2000)
