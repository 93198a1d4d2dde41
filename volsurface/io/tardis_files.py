"""Tables of Tardis' `options_chain` columns as chain snapshots: a stream of changes, looked at once a minute or so.

A row is one option at one change; times are microseconds since 1970 UTC, vols are percent. A snapshot holds the newest
row of each option that has not expired, with its own time, so that what is old is seen to be old.
https://docs.tardis.dev/downloadable-csv-files
"""

from collections.abc import Mapping

import numpy as np

from volsurface.errors import ChainFileError, unknown_name
from volsurface.venues.deribit_names import VENUE as DERIBIT
from volsurface.venues.deribit_names import forward_source

NEEDED = (
    "exchange symbol timestamp local_timestamp type strike_price expiration bid_price ask_price underlying_index "
    "underlying_price"
).split()
TELLS = frozenset(("exchange", "local_timestamp", "strike_price", "expiration"))  # no other layout has these
EVERY_S = 60.0  # market seconds between two snapshots
EXCHANGES = (DERIBIT,)  # whose units are known: prices in coins, or in USDC where the symbol says so
NS_PER_US = 1_000


def select(types: Mapping[str, str]) -> str:
    """Return the query over `{source}`: of each option the last row in each EVERY_S, in time order."""

    def number(name: str) -> str:
        return f"coalesce(try_cast(\"{name}\" as double), 'nan'::double)" if name in types else "'nan'::double"

    def micros(name: str) -> str:
        return f'coalesce(try_cast("{name}" as bigint), 0)'

    columns = {
        "received": micros("local_timestamp"), "expiry": micros("expiration"), "symbol": 'coalesce("symbol"::varchar, \'\')',
        "exchange": 'coalesce("exchange"::varchar, \'\')', "right": 'coalesce("type"::varchar, \'\')',
        "claim": 'coalesce("underlying_index"::varchar, \'\')', "strike": number("strike_price"),
        "bid": number("bid_price"), "ask": number("ask_price"), "bid_size": number("bid_amount"),
        "ask_size": number("ask_amount"), "forward": number("underlying_price"), "mark": number("mark_price"),
        "mark_iv": number("mark_iv"), "open_interest": number("open_interest"),
    }  # fmt: skip
    named = ", ".join(f'{expression} as "{name}"' for name, expression in columns.items())
    return f"""select * from (select {named} from {{source}})
        qualify row_number() over (partition by symbol, received // {round(EVERY_S * 1e6)} order by received desc) = 1
        order by received"""


def snapshots(path: object, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns of all snapshots, one after the other, as `io.chain_files` splits them; times in nanoseconds.

    Raises ChainFileError for an exchange whose units are not known, or a row without a time.
    """
    for exchange in dict.fromkeys(rows["exchange"].tolist()):
        if exchange not in EXCHANGES:
            raise ChainFileError(f"{path}: {unknown_name('exchange', exchange, EXCHANGES)}")
    for name in ("received", "expiry"):
        if (rows[name] <= 0).any():
            column = {"received": "local_timestamp", "expiry": "expiration"}[name]
            raise ChainFileError(f"{path}: a row of {rows['symbol'][int(np.argmin(rows[name] > 0))]} has no {column}")
    every_us = round(EVERY_S * 1e6)
    bucket = rows["received"] // every_us
    numbers = {symbol: n for n, symbol in enumerate(dict.fromkeys(rows["symbol"].tolist()))}
    number = np.array([numbers[symbol] for symbol in rows["symbol"].tolist()], np.int64)
    newest = np.full(len(numbers), -1)  # by symbol, the row of its last change
    taken, times = [], []
    for at in np.unique(bucket):
        mine = np.flatnonzero(bucket == at)
        newest[number[mine]] = mine
        time_us = int(rows["received"][mine].max())
        known = newest[newest >= 0]
        known = known[rows["expiry"][known] > time_us]
        taken.append(known)
        times.append(np.full(known.size, time_us * NS_PER_US))
    chosen = np.concatenate(taken) if taken else np.empty(0, int)
    symbols = [symbol.partition("-")[0] for symbol in rows["symbol"][chosen].tolist()]
    claims = {claim: forward_source(claim) for claim in dict.fromkeys(rows["claim"].tolist())}
    columns = {name: rows[name][chosen] for name in rows if name not in ("received", "exchange", "claim")}
    return columns | {
        "time": np.concatenate(times) if times else np.empty(0, np.int64),
        "quote_time": rows["received"][chosen] * NS_PER_US,
        "expiry": rows["expiry"][chosen] * NS_PER_US,
        "underlying": np.array([symbol.partition("_")[0] for symbol in symbols], object),
        "inverse": np.array(["_" not in symbol for symbol in symbols], bool),
        "venue": np.full(chosen.size, DERIBIT, object),
        "forward_source": np.array([claims[claim] for claim in rows["claim"][chosen].tolist()], np.uint8),
        "mark_iv": rows["mark_iv"][chosen] / 100.0,
        "index": np.full(chosen.size, np.nan),
    }
