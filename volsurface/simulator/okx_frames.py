"""The text of every message the simulated OKX sends about its options; nearly all numbers are strings."""

from collections.abc import Sequence

from volsurface.simulator.market import Option, Trade
from volsurface.simulator.order_book import COIN_TICKS, Change
from volsurface.simulator.text_values import AMOUNT_TEXT, UnitTexts, plain
from volsurface.simulator.ticker_values import TickerValues

PRICE_TEXT = UnitTexts(COIN_TICKS, "")  # a missing quote is an empty string
CLAMPED_VOL = 5.0
OLDEST_MS = 400  # entries of one summary are computed one after the other
LIST_HOUR_MS = 1_800_000  # new options are listed at half past eight


def family(underlying: str) -> str:
    """Return the instrument family of a coin, which is also the name of its index."""
    return f"{underlying}-USD"


def data(argument: str, entries: str, action: str = "") -> bytes:
    """Return a message of market data; `argument` is the JSON of its `arg`."""
    word = f'"action":"{action}",' if action else ""
    return f'{{"arg":{argument},{word}"data":[{entries}]}}'.encode()


def instrument(option: Option, state: str = "live") -> str:
    """Return a listing entry."""
    expiry, coin = option.expiry, option.underlying
    return (
        f'{{"alias":"","auctionEndTime":"","baseCcy":"","category":"1","ctMult":"{plain(option.contract_size)}","ctType":"",'
        f'"ctVal":"1","ctValCcy":"{coin}","contTdSwTime":"","expTime":"{expiry.expiry_ns // 1_000_000}",'
        f'"futureSettlement":false,"groupId":"1","instCategory":"1","instFamily":"{family(coin)}","instId":"{option.symbol}",'
        f'"instIdCode":{option.instrument_id},"instType":"OPTION","lever":"","listTime":'
        f'"{expiry.listed_ns // 1_000_000 + LIST_HOUR_MS}","lotSz":"1","maxLmtSz":"1000000","maxMktSz":"5000","minSz":"1",'
        f'"openType":"","optType":"{"C" if option.right > 0 else "P"}","preMktSwTime":"","quoteCcy":"","ruleType":"normal",'
        f'"settleCcy":"{coin}","state":"{state}","stk":"{plain(option.strike)}","tickSz":"0.0001","uly":"{family(coin)}",'
        f'"upcChg":[]}}'
    )


def ticker(option: Option, now_ms: int) -> str:
    """Return an entry of `tickers`."""
    book, last = option.book, option.last_price
    bid, ask = book.best_bid, book.best_ask
    traded = plain(last) if last is not None else ""
    return (
        f'{{"instType":"OPTION","instId":"{option.symbol}","last":"{traded}","lastSz":"0",'
        f'"askPx":"{PRICE_TEXT[ask]}","askSz":"{AMOUNT_TEXT[book.asks[ask]] if ask else ""}",'
        f'"bidPx":"{PRICE_TEXT[bid]}","bidSz":"{AMOUNT_TEXT[book.bids[bid]] if bid else ""}","open24h":"{traded}",'
        f'"high24h":"{traded}","low24h":"{traded}","sodUtc0":"{traded}","sodUtc8":"{traded}","volCcy24h":"0",'
        f'"vol24h":"{AMOUNT_TEXT[option.volume]}","ts":"{now_ms}"}}'
    )


def missing_ticker(option: Option, now_ms: int) -> str:
    """Return an entry of `tickers` without a quote on either side."""
    return (
        f'{{"instType":"OPTION","instId":"{option.symbol}","last":"","lastSz":"","askPx":"","askSz":"","bidPx":"","bidSz":"",'
        f'"open24h":"","high24h":"","low24h":"","sodUtc0":"","sodUtc8":"","volCcy24h":"","vol24h":"","ts":"{now_ms}"}}'
    )


def mark(option: Option, price: float, now_ms: int) -> str:
    """Return an entry of `mark-price`."""
    return f'{{"instId":"{option.symbol}","instType":"OPTION","markPx":"{price:.16f}","ts":"{now_ms}"}}'


def open_interest(option: Option, now_ms: int) -> str:
    """Return an entry of `open-interest`: contracts, then coins."""
    contracts = round(option.open_interest)
    coins = plain(contracts * option.contract_size)
    return f'{{"instId":"{option.symbol}","instType":"OPTION","oi":"{contracts}","oiCcy":"{coins}","ts":"{now_ms}"}}'


def index(underlying: str, price: float, now_ms: int) -> str:
    """Return an entry of `index-tickers`."""
    text = plain(price, 2)
    return (
        f'{{"instId":"{family(underlying)}","idxPx":"{text}","open24h":"{text}","high24h":"{text}","low24h":"{text}",'
        f'"sodUtc0":"{text}","sodUtc8":"{text}","ts":"{now_ms}"}}'
    )


def _levels(levels: Sequence[tuple[int, float]]) -> str:
    return ",".join([f'["{PRICE_TEXT[price]}","{AMOUNT_TEXT[amount]}","0","1"]' for price, amount in levels])


def _changes(changes: Sequence[Change]) -> str:
    return ",".join(
        [f'["{PRICE_TEXT[price]}","{AMOUNT_TEXT[amount]}","0","{1 if amount else 0}"]' for _, price, amount in changes]
    )


def snapshot(option: Option, seq: int, now_ms: int) -> str:
    """Return a whole book."""
    book = option.book
    return (
        f'{{"asks":[{_levels(book.sorted_asks())}],"bids":[{_levels(book.sorted_bids())}],"ts":"{now_ms}","checksum":0,'
        f'"seqId":{seq},"prevSeqId":-1}}'
    )


def update(bids: Sequence[Change], asks: Sequence[Change], previous: int, seq: int, now_ms: int) -> str:
    """Return a change of a book; without levels and with two equal numbers it is a sign of life."""
    return (
        f'{{"asks":[{_changes(asks)}],"bids":[{_changes(bids)}],"ts":"{now_ms}","checksum":0,"prevSeqId":{previous},'
        f'"seqId":{seq}}}'
    )


def best(option: Option, seq: int, now_ms: int) -> str:
    """Return an entry of `bbo-tbt`: the best level of each side, if there is one."""
    book = option.book
    return (
        f'{{"asks":[{_levels(book.sorted_asks()[:1])}],"bids":[{_levels(book.sorted_bids()[:1])}],"ts":"{now_ms}",'
        f'"seqId":{seq}}}'
    )


def summaries(options: Sequence[Option], values: TickerValues, now_ms: int) -> str:
    """Return the entries of `opt-summary`, each with a time of its own.

    Vols are fractions. delta, gamma, vega and theta are premium adjusted (coin), those with BS in quote currency.
    """
    entries = []
    for option, fwd, spot, price, iv, bid_iv, ask_iv, delta, gamma, vega, theta in zip(
        options, values.forward, values.index, values.mark, values.mark_iv, values.bid_iv, values.ask_iv, values.delta,
        values.gamma, values.vega, values.theta,
    ):  # fmt: skip
        adjusted = delta - price
        bid, ask = (plain(min(v / 100.0, CLAMPED_VOL), 10) if v else "" for v in (bid_iv, ask_iv))
        entries.append(
            f'{{"instType":"OPTION","instId":"{option.symbol}","uly":"{family(option.underlying)}",'
            f'"delta":"{adjusted:.10f}","gamma":"{gamma * spot - 2 * adjusted:.10f}","vega":"{vega / spot:.10f}",'
            f'"theta":"{theta / spot:.10f}","lever":"{1 / price if price > 1e-9 else 0:.9f}","markVol":"{iv / 100:.10f}",'
            f'"bidVol":"{bid}","askVol":"{ask}","realVol":"","deltaBS":"{delta:.10f}","gammaBS":"{gamma:.10f}",'
            f'"thetaBS":"{theta:.10f}","vegaBS":"{vega:.10f}","ts":"{now_ms - option.instrument_id % OLDEST_MS}",'
            f'"fwdPx":"{fwd:.10f}","volLv":"{iv / 100:.10f}"}}'
        )
    return ",".join(entries)


def trap_summary(option: Option, fwd: float, now_ms: int) -> str:
    """Return a summary with every way the venue has to say "none", a vol at its ceiling and a Greek that is no number."""
    return (
        f'{{"instType":"OPTION","instId":"{option.symbol}","uly":"{family(option.underlying)}","delta":"-∞","gamma":"",'
        f'"vega":"","theta":"","lever":"0","markVol":"","bidVol":"0","askVol":"5","realVol":"","deltaBS":"","gammaBS":"",'
        f'"thetaBS":"","vegaBS":"","ts":"{now_ms}","fwdPx":"{fwd:.10f}","volLv":""}}'
    )


def trade(option: Option, made: Trade, fwd: float, now_ms: int) -> str:
    """Return an entry of `option-trades`."""
    return (
        f'{{"fillVol":"{made.iv / 100:.10f}","fwdPx":"{fwd:.10f}","idxPx":"{plain(made.index, 2)}",'
        f'"instFamily":"{family(option.underlying)}","instId":"{option.symbol}","markPx":"{made.mark:.16f}",'
        f'"optType":"{"C" if option.right > 0 else "P"}","px":"{plain(made.price)}","side":"{made.direction}",'
        f'"sz":"{AMOUNT_TEXT[made.amount]}","tradeId":"{made.trade_id}","ts":"{now_ms}"}}'
    )
