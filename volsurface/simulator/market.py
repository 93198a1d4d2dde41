"""One venue's view of the simulated market: what it lists, what that is worth, who quotes it, and the order books.

Views of several venues with one seed share the true surface, which is a function of the seed and the instant alone.

No I/O and no clock: `advance(now_ns)` brings everything to an instant. True prices and wished quotes of all options are
recomputed there with numpy; a book follows its wish only when `move_book` is called for it, which is when the venue
publishes it. So what a venue says about an option is always what stands in its book.
"""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from volsurface.market.instrument import COIN
from volsurface.pricing.black76 import black76_price
from volsurface.pricing.implied_vol import implied_vols
from volsurface.simulator.listing import Expiry, expiry_kinds, expiry_label, listed_expiries
from volsurface.simulator.order_book import Change, OrderBook, TickRule
from volsurface.simulator.quoting import target_quotes
from volsurface.simulator.ticker_values import INV_SQRT_2PI, TickerValues, ticker_values
from volsurface.simulator.true_surface import TrueSmiles, TrueSurface
from volsurface.simulator.venue_profiles import PROFILES, VenueProfile

NS_PER_S = 1_000_000_000
SHADE_SIZE, SHADE_MEMORY_S = 0.3, 30.0  # how far quotes lean, in half-spreads, and for how long
FIRST_CHANGE_ID = 71_000_000_000
LARGEST_CHANGE_STEP = 40  # change_id is shared by all books, so one book's jumps
AMOUNTS = 8191  # amounts drawn ahead, used in turn
DEPTHS = (1, 2, 3, 3, 4, 5, 6)


@dataclass(slots=True, eq=False)
class Option:
    """A listed option and what the venue keeps about it; `row` is its place in the market's arrays, -1 after expiry.

    Amounts (book, open interest, volume) are contracts of `contract_size` coins; prices are in the venue's unit.
    """

    symbol: str
    underlying: str
    expiry: Expiry
    strike: float
    right: int
    instrument_id: int
    row: int
    book: OrderBook
    luck: float
    open_interest: float
    contract_size: float = 1.0
    settlement_price: float = 0.0
    last_price: float | None = None
    volume: float = 0.0
    high: float | None = None
    low: float | None = None
    trades: int = 0


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade at the top of a book; `iv` in percent, `direction` of the one who hit it."""

    option: Option
    trade_id: int
    trade_seq: int
    price: float
    amount: float
    iv: float
    mark: float
    index: float
    direction: str
    tick_direction: int


@dataclass(frozen=True, slots=True)
class Roll:
    """What changed in the listing at one instant."""

    now_ns: int
    expired: tuple[Option, ...]
    listed: tuple[Option, ...]


@dataclass(slots=True)
class _Columns:
    """Per option, shape (n_options,): what does not change between two listings."""

    strike: np.ndarray
    right: np.ndarray
    expiry: np.ndarray  # row of its expiry in the concatenated smiles
    coin: np.ndarray  # row of its underlying
    luck: np.ndarray
    unit: np.ndarray  # price step


@dataclass(slots=True)
class _State:
    """Per option, shape (n_options,), at the market's instant."""

    forward: np.ndarray
    years: np.ndarray
    vol: np.ndarray
    mark: np.ndarray
    bid: np.ndarray
    ask: np.ndarray


@dataclass(slots=True)
class _Standing:
    """Best prices in the books, in price units, shape (n_options,)."""

    bid: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    ask: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))


class VenueMarket:
    """BTC and ETH options (or any profile of `true_surface`) of one venue, with a known true surface.

    most_expiries, most_strikes: list only the nearest so many of each (per underlying, per expiry); a test wants few.
    smiles: the true surface as this venue's forwards see it, so with the venue's basis.
    """

    def __init__(
        self,
        underlyings: Sequence[str],
        seed: int,
        now_ns: int,
        venue: VenueProfile = PROFILES["deribit"],
        *,
        most_expiries: int | None = None,
        most_strikes: int | None = None,
    ) -> None:
        self.underlyings = tuple(underlyings)
        self.seed = seed
        self.venue = venue
        self._most_expiries, self._most_strikes = most_expiries, most_strikes
        self._retired_ns = 0  # expiries up to here were ended early
        self._added: dict[tuple[str, int], list[float]] = {}  # strikes listed on demand
        self.surfaces = {name: TrueSurface(name, seed) for name in self.underlyings}
        self.smiles: dict[str, TrueSmiles] = {}
        self.expiries: dict[str, tuple[Expiry, ...]] = {name: () for name in self.underlyings}
        self.options: list[Option] = []
        self.by_symbol: dict[str, Option] = {}
        self.now_ns = now_ns
        self._generator = np.random.default_rng([seed, 0x5EED, *_own_entropy(venue)])
        self._random = random.Random(seed)
        self._change_id = FIRST_CHANGE_ID + 1_000_003 * (seed % 1000)
        self._next_trade_id = 240_000_000
        self._next_instrument_id = 400_000
        self._amounts = {name: self._amount_cycle(name) for name in self.underlyings}
        self._standing = _Standing()
        self._next_roll_ns = 0
        self._shade = np.zeros(0)
        self.advance(now_ns)
        for option in self.options:
            self.move_book(option)

    def advance(self, now_ns: int) -> Roll | None:
        """Bring listing, true prices and wished quotes to `now_ns`; return what was listed or expired, if anything."""
        decay = math.exp(-max(now_ns - self.now_ns, 0) / NS_PER_S / SHADE_MEMORY_S)
        self.now_ns = now_ns
        roll = self._relist(now_ns) if now_ns >= self._next_roll_ns else None
        fresh = self._generator.standard_normal(len(self.options))
        self._shade = np.clip(self._shade * decay + SHADE_SIZE * math.sqrt(1.0 - decay * decay) * fresh, -0.95, 0.95)
        self._reprice(now_ns)
        if roll is not None:
            for option in roll.listed:
                self.move_book(option)
        return roll

    def changed(self) -> list[Option]:
        """Return the options whose wished quotes differ from their books."""
        state, standing = self._state, self._standing
        rows = np.flatnonzero((state.bid != standing.bid) | (state.ask != standing.ask))
        return [self.options[row] for row in rows.tolist()]

    def move_book(self, option: Option) -> tuple[list[Change], list[Change]]:
        """Let the book of a listed `option` follow its wish; return the changes of bids and asks, both empty if none."""
        row, book = option.row, option.book
        bid, ask = int(self._state.bid[row]), int(self._state.ask[row])
        bids, asks = book.move(bid, ask, self._amounts[option.underlying])
        if bids or asks:
            self._change_id += self._random.randrange(1, LARGEST_CHANGE_STEP)
            book.change_id = self._change_id
            book.moves += 1
            self._standing.bid[row] = bid
            self._standing.ask[row] = ask
        return bids, asks

    def tickers(self, options: list[Option]) -> TickerValues:
        """Return the computed ticker values of listed `options`, one or more, at the market's instant."""
        rows = np.fromiter((option.row for option in options), np.int64, len(options))
        state, columns, standing = self._state, self._columns, self._standing
        index, forward, vol = self._spot[columns.coin[rows]], state.forward[rows], state.vol[rows]
        strike, years, right = columns.strike[rows], state.years[rows], columns.right[rows]
        numeraire = forward if self.venue.settlement == COIN else np.ones(rows.size)  # quote currency per price
        if self.venue.on_index:  # below intrinsic against the index no vol explains the price: the true one is told
            implied = implied_vols(state.mark[rows] * numeraire, index, strike, years, right).vol
            forward, vol = index, np.where(np.isfinite(implied), implied, vol)
        return ticker_values(
            index=index, forward=forward, strike=strike, years=years, right=right, vol=vol, numeraire=numeraire,
            mark=state.mark[rows],
            bid=standing.bid[rows] * columns.unit[rows],
            ask=standing.ask[rows] * columns.unit[rows],
        )  # fmt: skip

    def index(self, underlying: str) -> float:
        """Return the venue's spot index, in quote currency per coin."""
        return self.smiles[underlying].spot

    def levels(self, option: Option) -> tuple[dict[float, float], dict[float, float]]:
        """Return the true book of an option as a client should see it: price in the venue's unit to size in coins."""
        price, size = option.book.ticks.price, option.contract_size
        bids, asks = option.book.bids, option.book.asks
        return {price(p): a * size for p, a in bids.items()}, {price(p): a * size for p, a in asks.items()}

    def add_strike(self) -> None:
        """List one more strike of some expiry, above the others: the next `advance` lists it."""
        name = self._random.choice(self.underlyings)
        expiry = self._random.choice(self.expiries[name])
        strikes = self._listed_strikes(name, expiry)
        step = strikes[-1] - strikes[-2] if len(strikes) > 1 else strikes[-1]
        self._added.setdefault((name, expiry.expiry_ns), []).append(max(strikes) + abs(step))
        self._next_roll_ns = 0

    def retire(self) -> None:
        """End the nearest expiry early: the next `advance` rolls the listing as at 08:00 UTC."""
        self._retired_ns = min(expiries[0].expiry_ns for expiries in self.expiries.values())
        self._next_roll_ns = 0

    def mark(self, option: Option) -> float:
        """Return the true price of a listed option, in the venue's unit."""
        return float(self._state.mark[option.row])

    def true_vol(self, option: Option) -> float:
        """Return the true vol (decimal per year) of a listed option."""
        return float(self._state.vol[option.row])

    def trade(self) -> Trade | None:
        """Let somebody hit a quote of a random option; None when that option has no quote. Its book is not changed."""
        option = self._random.choice(self.options)
        buys = self._random.random() < 0.5
        book = option.book
        units = book.best_ask if buys else book.best_bid
        if not units:
            return None
        wanted = self.venue.smallest_amount[option.underlying] * self._random.randrange(1, 200)
        amount = round(min((book.asks if buys else book.bids)[units], wanted), 2)
        price = book.ticks.price(units)
        values = self.tickers([option])
        previous = option.last_price
        rising = previous is None or price > previous
        tick = (0 if rising else 2) if price != previous else (1 if buys else 3)
        option.last_price = price
        option.volume = round(option.volume + amount, 2)
        option.high = max(price, option.high or price)
        option.low = min(price, option.low or price)
        option.trades += 1
        self._next_trade_id += self._random.randrange(1, 5)
        return Trade(
            option=option,
            trade_id=self._next_trade_id,
            trade_seq=option.trades,
            price=price,
            amount=amount,
            iv=(values.ask_iv if buys else values.bid_iv)[0],
            mark=values.mark[0],
            index=values.index[0],
            direction="buy" if buys else "sell",
            tick_direction=tick,
        )

    def underlying_index(self, option: Option) -> str:
        """Return the name of the forward an option is priced on: its future, or `SYN.` where none is listed."""
        name = f"{option.underlying}-{expiry_label(option.expiry.expiry_ns)}"
        return name if option.expiry.has_future else f"SYN.{name}"

    def _amount_cycle(self, name: str) -> Iterator[float]:
        unit = self.venue.smallest_amount[name]
        sizes = np.maximum(self._generator.lognormal(4.0, 1.2, AMOUNTS).astype(np.int64), 1)
        return itertools.cycle(np.round(unit * sizes, 2).tolist())

    def _relist(self, now_ns: int) -> Roll:
        kept, expired, listed = [], [], []
        for name in self.underlyings:
            self.expiries[name] = self._listed_expiries(name, now_ns)
            alive = {expiry.expiry_ns for expiry in self.expiries[name]}
            mine = [option for option in self.options if option.underlying == name]
            expired += [option for option in mine if option.expiry.expiry_ns not in alive]
            known = {(option.expiry.expiry_ns, option.strike) for option in mine}
            added = [
                option
                for expiry in self.expiries[name]
                for strike in self._listed_strikes(name, expiry)
                if (expiry.expiry_ns, strike) not in known
                for option in self._new_options(name, expiry, strike)
            ]
            listed += added
            survivors = [option for option in mine if option.expiry.expiry_ns in alive]
            kept += sorted(survivors + added, key=lambda o: (o.expiry.expiry_ns, o.strike, -o.right))
        self._renumber(kept, expired)
        self._next_roll_ns = min(expiry_kinds(now_ns))
        return Roll(now_ns, tuple(expired), tuple(listed))

    def _listed_expiries(self, name: str, now_ns: int) -> tuple[Expiry, ...]:
        all_expiries = listed_expiries(now_ns, self.surfaces[name].spot, self.expiries[name])
        mine = [e for e in all_expiries if e.kind in self.venue.kinds and e.expiry_ns > self._retired_ns]
        return tuple(mine[: self._most_expiries])

    def _listed_strikes(self, name: str, expiry: Expiry) -> Sequence[float]:
        return [*self._grid(name, expiry), *self._added.get((name, expiry.expiry_ns), ())]

    def _grid(self, name: str, expiry: Expiry) -> Sequence[float]:
        strikes = expiry.strikes[:: self.venue.stride]
        if self._most_strikes is None:
            return strikes
        spot = self.surfaces[name].spot(expiry.listed_ns)
        return sorted(sorted(strikes, key=lambda strike: abs(strike - spot))[: self._most_strikes])

    def _new_options(self, name: str, expiry: Expiry, strike: float) -> Iterator[Option]:
        ticks: TickRule = self.venue.ticks[name]
        for right in (1, -1):
            self._next_instrument_id += 1
            yield Option(
                symbol=self.venue.symbol(name, expiry.expiry_ns, strike, right),
                underlying=name,
                expiry=expiry,
                strike=strike,
                right=right,
                instrument_id=self._next_instrument_id,
                row=-1,
                book=OrderBook(self._random.choice(DEPTHS), ticks),
                luck=self._random.random(),
                open_interest=round(self._random.lognormvariate(4.0, 2.0), 1),
                contract_size=self.venue.contract_size[name],
            )

    def _renumber(self, options: list[Option], expired: list[Option]) -> None:
        """Give the options their rows, nearest expiry of the first underlying first; quotes' leanings go with them."""
        old_shade = [float(self._shade[option.row]) if option.row >= 0 else 0.0 for option in options]
        for option in expired:
            option.row = -1
            del self.by_symbol[option.symbol]
        self.options = options
        for row, option in enumerate(options):
            option.row = row
            self.by_symbol[option.symbol] = option
        offsets, count = {}, 0
        for name in self.underlyings:
            for expiry in self.expiries[name]:
                offsets[name, expiry.expiry_ns] = count
                count += 1
        self._columns = _Columns(
            strike=np.array([o.strike for o in options]),
            right=np.array([float(o.right) for o in options]),
            expiry=np.array([offsets[o.underlying, o.expiry.expiry_ns] for o in options], np.int64),
            coin=np.array([self.underlyings.index(o.underlying) for o in options], np.int64),
            luck=np.array([o.luck for o in options]),
            unit=np.array([o.book.ticks.unit for o in options]),
        )
        self._standing = _Standing(
            np.array([o.book.best_bid for o in options], np.int32),
            np.array([o.book.best_ask for o in options], np.int32),
        )
        self._shade = np.array(old_shade)

    def _reprice(self, now_ns: int) -> None:
        for name in self.underlyings:
            true = self.surfaces[name].at(now_ns, [e.expiry_ns for e in self.expiries[name]])
            moved = 1.0 + self.venue.basis
            self.smiles[name] = replace(true, spot=true.spot * moved, forward=true.forward * moved)
        smiles = [self.smiles[name] for name in self.underlyings]
        columns = self._columns

        def spread(field_name: str) -> np.ndarray:
            joined = np.concatenate([getattr(smile, field_name) for smile in smiles])
            return joined[columns.expiry]

        self._spot = np.array([smile.spot for smile in smiles])
        forward, years = spread("forward"), spread("years")
        k = np.log(columns.strike / forward)
        shifted = k - spread("m")
        root = np.sqrt(shifted * shifted + spread("sigma") ** 2)
        variance = spread("a") + spread("b") * (spread("rho") * shifted + root)
        std_dev = np.sqrt(variance)
        vol = std_dev / np.sqrt(years)
        numeraire = forward if self.venue.settlement == COIN else np.ones_like(forward)
        mark = black76_price(forward, columns.strike, years, vol, columns.right) / numeraire
        z = k / std_dev
        vega = INV_SQRT_2PI * np.exp(-0.5 * (0.5 * std_dev - z) ** 2) * np.sqrt(years) * forward / numeraire
        seconds = (now_ns // NS_PER_S) % (365 * 86400)
        quotes = target_quotes(
            mark, vega, z, years, self._shade, columns.luck, float(seconds),
            unit=columns.unit, ticks=self.venue.ticks[self.underlyings[0]], widening=self.venue.widening,
        )  # fmt: skip
        self._state = _State(forward, years, vol, mark, quotes.bid, quotes.ask)


def _own_entropy(venue: VenueProfile) -> bytes:
    """Return what makes the quotes of a venue lean differently from those of the others on the same market."""
    return b"" if venue.venue == "deribit" else venue.venue.encode()
