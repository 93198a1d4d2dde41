"""The text of every frame the simulated Deribit sends.

Encoding is most of what a message costs, so tickers and books are written with one f-string each, prices come from a
table, and what does not change stands in a prefix per channel. Some numbers are in scientific notation, as the venue
writes them since December 2024.
"""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from volsurface.simulator.listing import settlement_period
from volsurface.simulator.market import Option, Trade, VenueMarket
from volsurface.simulator.order_book import COARSE_STEP, FINE_BELOW, PRICE_UNIT, Change
from volsurface.simulator.ticker_values import TickerValues
from volsurface.simulator.venue import BookMove

PRICE_BAND = 0.09  # coin: how far min_price and max_price lie from the mark
HEARTBEAT = b'{"params":{"type":"heartbeat"},"method":"heartbeat","jsonrpc":"2.0"}'
TEST_REQUEST = b'{"params":{"type":"test_request"},"method":"heartbeat","jsonrpc":"2.0"}'


def number(value: float) -> str:
    """Return a JSON number, in scientific notation where that is shorter.

    >>> [number(x) for x in (64000.0, 0.0002, 0.0135, 12.5, 0.0)]
    ['6.4e4', '2e-4', '0.0135', '12.5', '0.0']
    """
    plain = repr(float(value))
    short = f"{Decimal(plain).normalize():e}".replace("e+", "e")
    return short if len(short) < len(plain) else plain


def nullable(value: float | None) -> str:
    """Return a JSON number or null."""
    return "null" if value is None else number(value)


class PriceTexts(dict[int, str]):
    """Price units to JSON text, filled as prices occur; 0 is the venue's way to say none: 0.0."""

    def __missing__(self, units: int) -> str:
        text = self[units] = number(round(units * PRICE_UNIT, 4))
        return text


PRICE_TEXT = PriceTexts()


def _banded(mark: float) -> tuple[str, str]:
    low, high = int((mark - PRICE_BAND) / PRICE_UNIT), int((mark + PRICE_BAND) / PRICE_UNIT)
    low = max(low - low % COARSE_STEP if low >= FINE_BELOW else low, 1)
    return PRICE_TEXT[low], PRICE_TEXT[high - high % COARSE_STEP]


class Encoder:
    """Writes frames about one market; keeps the text of each option that changes only with a trade."""

    def __init__(self, market: VenueMarket) -> None:
        self._market = market
        self._slow: dict[Option, tuple[int, str]] = {}
        self._entries: dict[Option, str] = {}

    def forget(self, options: Iterable[Option]) -> None:
        """Drop what is kept about expired options."""
        for option in options:
            self._slow.pop(option, None)
            self._entries.pop(option, None)

    def tickers(self, options: Sequence[Option], values: TickerValues, now_ms: int) -> list[str]:
        """Return the `data` object of each option's ticker, in order."""
        texts, price_text, slow_text = [], PRICE_TEXT, self._slow_text
        for option, fwd, index, mark, iv, bid_iv, ask_iv, delta, gamma, vega, theta, rho in zip(
            options, values.forward, values.index, values.mark, values.mark_iv, values.bid_iv, values.ask_iv,
            values.delta, values.gamma, values.vega, values.theta, values.rho,
        ):  # fmt: skip
            book = option.book
            bid, ask = book.best_bid, book.best_ask
            low, high = _banded(mark)
            texts.append(
                f'{{"timestamp":{now_ms},{slow_text(option)},"min_price":{low},"max_price":{high},"index_price":{index:.2f},'
                f'"underlying_price":{fwd:.4f},"mark_price":{mark:.6f},"mark_iv":{iv:.2f},"bid_iv":{bid_iv:.2f},'
                f'"ask_iv":{ask_iv:.2f},"best_bid_price":{price_text[bid]},"best_bid_amount":{book.bids[bid] if bid else 0.0},'
                f'"best_ask_price":{price_text[ask]},"best_ask_amount":{book.asks[ask] if ask else 0.0},'
                f'"estimated_delivery_price":{index:.2f},"greeks":{{"delta":{delta:.5f},"gamma":{gamma:.5f},'
                f'"vega":{vega:.5f},"theta":{theta:.5f},"rho":{rho:.5f}}}}}'
            )
        return texts

    def _slow_text(self, option: Option) -> str:
        kept = self._slow.get(option)
        if kept is not None and kept[0] == option.trades:
            return kept[1]
        text = (
            f'"state":"open","stats":{self._stats(option)},"interest_rate":0.0,"instrument_name":"{option.symbol}",'
            f'"underlying_index":"{self._market.underlying_index(option)}","open_interest":{number(option.open_interest)},'
            f'"settlement_price":{number(option.settlement_price)},"last_price":{nullable(option.last_price)}'
        )
        self._slow[option] = (option.trades, text)
        return text

    def _stats(self, option: Option) -> str:
        if not option.trades:
            return '{"high":null,"low":null,"price_change":null,"volume":null,"volume_usd":null}'
        usd = option.volume * (option.last_price or 0.0) * self._market.smiles[option.underlying].spot
        return (
            f'{{"high":{nullable(option.high)},"low":{nullable(option.low)},"price_change":0.0,'
            f'"volume":{number(option.volume)},"volume_usd":{usd:.2f}}}'
        )

    def book_snapshot(self, option: Option, change_id: int, now_ms: int) -> str:
        """Return the `data` object of a full book, numbered `change_id`."""
        book = option.book
        bids = [("new", price, amount) for price, amount in book.sorted_bids()]
        asks = [("new", price, amount) for price, amount in book.sorted_asks()]
        return (
            f'{{"type":"snapshot","timestamp":{now_ms},"instrument_name":"{option.symbol}",'
            f'"change_id":{change_id},"bids":{_levels(bids)},"asks":{_levels(asks)}}}'
        )

    def depth(self, option: Option, depth: int) -> str:
        """Return the members that get_order_book adds to a ticker: `depth` levels a side and the change_id."""
        sides = [option.book.sorted_bids()[:depth], option.book.sorted_asks()[:depth]]
        bids, asks = (",".join([f"[{PRICE_TEXT[price]},{amount}]" for price, amount in side]) for side in sides)
        return f'"change_id":{option.book.change_id},"bids":[{bids}],"asks":[{asks}]'

    def book_change(self, move: BookMove, now_ms: int) -> str:
        """Return the `data` object of a change."""
        return (
            f'{{"type":"change","timestamp":{now_ms},"prev_change_id":{move.previous_id},'
            f'"instrument_name":"{move.option.symbol}","change_id":{move.change_id},'
            f'"bids":{_levels(move.bids)},"asks":{_levels(move.asks)}}}'
        )

    def trap(self, option: Option, now_ms: int) -> str:
        """Return the `data` object of a ticker with every way the venue has to say "none", and a vol at its ceiling."""
        index = self._market.index(option.underlying)
        return (
            f'{{"timestamp":{now_ms},{self._slow_text(option)},"min_price":1e-4,"max_price":{PRICE_BAND},'
            f'"index_price":{index:.2f},"underlying_price":{index:.4f},"mark_price":0.0,"mark_iv":250.0,"bid_iv":0.0,'
            f'"ask_iv":500.0,"best_bid_price":0.0,"best_bid_amount":0.0,"best_ask_price":null,"best_ask_amount":null,'
            f'"estimated_delivery_price":{index:.2f},"greeks":{{"delta":0.0,"gamma":0.0,"vega":0.0,"theta":0.0,'
            f'"rho":0.0}}}}'
        )

    def quote(self, option: Option, now_ms: int) -> str:
        """Return the `data` object of a best bid and ask."""
        book = option.book
        bid, ask = book.best_bid, book.best_ask
        return (
            f'{{"timestamp":{now_ms},"instrument_name":"{option.symbol}","best_bid_price":{PRICE_TEXT[bid]},'
            f'"best_bid_amount":{book.bids[bid] if bid else 0.0},"best_ask_price":{PRICE_TEXT[ask]},'
            f'"best_ask_amount":{book.asks[ask] if ask else 0.0}}}'
        )

    def trade(self, trade: Trade, now_ms: int) -> str:
        """Return one entry of a trades array."""
        return (
            f'{{"trade_seq":{trade.trade_seq},"trade_id":"{trade.trade_id}","timestamp":{now_ms},'
            f'"tick_direction":{trade.tick_direction},"price":{number(round(trade.price, 4))},'
            f'"mark_price":{trade.mark:.8f},"iv":{trade.iv:.2f},"instrument_name":"{trade.option.symbol}",'
            f'"index_price":{trade.index:.2f},"direction":"{trade.direction}","contracts":{trade.amount},'
            f'"amount":{trade.amount}}}'
        )

    def mark_prices(self, options: Sequence[Option], values: TickerValues, now_ms: int) -> str:
        """Return the `data` array of markprice.options; here the vol is a fraction, unlike in a ticker."""
        return (
            "["
            + ",".join(
                f'{{"timestamp":{now_ms},"mark_price":{mark:.4f},"iv":{iv / 100:.4f},"instrument_name":"{option.symbol}"}}'
                for option, mark, iv in zip(options, values.mark, values.mark_iv)
            )
            + "]"
        )

    def book_summaries(self, options: Sequence[Option], values: TickerValues, now_ms: int) -> str:
        """Return the array of get_book_summary_by_currency: null, not 0, for what is missing."""
        entries = []
        for option, fwd, index, mark, iv in zip(options, values.forward, values.index, values.mark, values.mark_iv):
            bid, ask = option.book.best_bid, option.book.best_ask
            middle = number(round((bid + ask) * PRICE_UNIT / 2, 5)) if bid and ask else "null"
            entries.append(
                f'{{"volume_usd":0.0,"volume":{number(option.volume)},"underlying_price":{fwd:.4f},'
                f'"underlying_index":"{self._market.underlying_index(option)}","quote_currency":"{option.underlying}",'
                f'"price_change":null,"open_interest":{number(option.open_interest)},"mid_price":{middle},'
                f'"mark_price":{mark:.8f},"mark_iv":{iv:.2f},"low":{nullable(option.low)},'
                f'"last":{nullable(option.last_price)},"interest_rate":0.0,"instrument_name":"{option.symbol}",'
                f'"high":{nullable(option.high)},"estimated_delivery_price":{index:.2f},"creation_timestamp":{now_ms},'
                f'"bid_price":{PRICE_TEXT[bid] if bid else "null"},"base_currency":"{option.underlying}",'
                f'"ask_price":{PRICE_TEXT[ask] if ask else "null"}}}'
            )
        return f"[{','.join(entries)}]"

    def instrument(self, option: Option) -> str:
        """Return the option as it stands in get_instruments and in instrument.creation."""
        text = self._entries.get(option)
        if text is None:
            text = self._entries[option] = self._instrument(option)
        return text

    def _instrument(self, option: Option) -> str:
        coin, expiry = option.underlying, option.expiry
        return (
            f'{{"price_index":"{self._market.surfaces[coin].profile.index_name}","kind":"option",'
            f'"instrument_name":"{option.symbol}","option_type":"{"call" if option.right > 0 else "put"}",'
            f'"strike":{number(option.strike)},"max_leverage":1,"maker_commission":3e-4,"taker_commission":3e-4,'
            f'"instrument_type":"reversed","expiration_timestamp":{expiry.expiry_ns // 1_000_000},'
            f'"creation_timestamp":{expiry.listed_ns // 1_000_000},"is_active":true,"state":"open","tick_size":1e-4,'
            f'"tick_size_steps":[{{"above_price":{number(FINE_BELOW * PRICE_UNIT)},'
            f'"tick_size":{number(COARSE_STEP * PRICE_UNIT)}}}],"contract_size":1.0,'
            f'"instrument_id":{option.instrument_id},"min_trade_amount":{self._market.venue.smallest_amount[coin]},"max_liquidation_commission":0.0075,'
            f'"block_trade_commission":3e-4,"block_trade_min_trade_amount":25,"block_trade_tick_size":1e-4,'
            f'"settlement_currency":"{coin}","settlement_period":"{settlement_period(expiry)}","base_currency":"{coin}",'
            f'"counter_currency":"USD","quote_currency":"{coin}"}}'
        )


def subscription(channel: str, data: str) -> bytes:
    """Return a notification."""
    return f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}'.encode()


def instrument_state(symbol: str, state: str, now_ms: int) -> str:
    """Return the `data` object of instrument.state."""
    return f'{{"timestamp":{now_ms},"state":"{state}","instrument_name":"{symbol}"}}'


def price_index(index_name: str, price: float, now_ms: int) -> str:
    """Return the `data` object of deribit_price_index."""
    return f'{{"timestamp":{now_ms},"price":{price:.2f},"index_name":"{index_name}"}}'


def volatility_index(index_name: str, percent: float, now_ms: int) -> str:
    """Return the `data` object of deribit_volatility_index."""
    return f'{{"timestamp":{now_ms},"volatility":{percent:.4f},"index_name":"{index_name}"}}'


def platform_state(index_name: str) -> str:
    """Return the `data` object of platform_state: nothing is locked."""
    return f'{{"locked":false,"price_index":"{index_name}","reasons":[]}}'


def answer(request_id: int | str | None, body: str, us_in: int, us_out: int) -> bytes:
    """Return a response; `body` is `"result":...` or `"error":...`. A request without id is answered without one."""
    identity = "" if request_id is None else f'"id":{json.dumps(request_id)},'
    return (
        f'{{"jsonrpc":"2.0",{identity}{body},"usIn":{us_in},"usOut":{us_out},"usDiff":{us_out - us_in},"testnet":true}}'
    ).encode()


def error_body(code: int, message: str, data: Any = None) -> str:
    """Return the `error` member of a response."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return f'"error":{json.dumps(error, separators=(",", ":"))}'


def _levels(changes: Sequence[Change]) -> str:
    levels = [f'["{action}",{PRICE_TEXT[price]},{amount}]' for action, price, amount in changes]
    return f"[{','.join(levels)}]"
