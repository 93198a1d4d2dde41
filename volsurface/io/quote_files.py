"""The quotes of a published surface as rows, and these as a CSV or Parquet file that says where its numbers come from."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np

from volsurface.io.history.segments import quoted
from volsurface.io.publication import Publication
from volsurface.surface.instants import to_iso
from volsurface.surface.quoted import REASONS

FORMATS = ("csv", "parquet")
NS_PER_US = 1000
Rows = dict[str, np.ndarray]


def quote_rows(publication: Publication) -> Rows:
    """Return a row per listed option, in the publication's order (expiry, then strike).

    expiry, quote_time: datetime64[us], UTC. right: "call" or "put". bid, ask: as the venue quotes them. bid_size, ask_size:
    coins. bid_vol, ask_vol, mid_vol, fit_vol: fractions per year, NaN where there is none. residual_bp: mid minus fit in bp of
    vol. k: ln(strike / forward). reason: "used", or why the fit does not use it (`surface.quoted.REASONS`).
    """
    quotes = publication.quotes
    return {
        "expiry": (quotes.expiry_ns // NS_PER_US).astype("datetime64[us]"),
        "strike": quotes.strike,
        "right": np.where(quotes.right > 0, "call", "put").astype(object),
        "venue": np.array([*quotes.venues, ""], object)[np.where(quotes.venue < len(quotes.venues), quotes.venue, -1)],
        "bid": quotes.bid,
        "ask": quotes.ask,
        "bid_size": quotes.bid_size,
        "ask_size": quotes.ask_size,
        "bid_vol": quotes.bid_vol,
        "ask_vol": quotes.ask_vol,
        "mid_vol": quotes.mid_vol,
        "fit_vol": quotes.fit_vol,
        "residual_bp": 1e4 * (quotes.mid_vol - quotes.fit_vol),
        "k": quotes.k,
        "reason": np.array(REASONS, object)[quotes.reason],
        "quote_time": (quotes.quote_time_ns // NS_PER_US).astype("datetime64[us]"),
    }


def origin(publication: Publication, source: str) -> dict[str, str]:
    """Return what must be known of exported rows: source ("SIMULATED", "REPLAY", "LIVE"), underlying, market time, digest."""
    return {
        "source": source.upper(),
        "underlying": publication.underlying,
        "market_time": to_iso(publication.market_time_ns),
        "surface_digest": publication.surface.digest,
    }


def file_name(made_of: Mapping[str, str], kind: str) -> str:
    """Return the name of a file of these rows: `quotes_BTC_SIMULATED_20261121T080000Z.csv`."""
    stamp = made_of["market_time"].split(".")[0].replace("-", "").replace(":", "").rstrip("Z")
    return f"quotes_{made_of['underlying']}_{made_of['source']}_{stamp}Z.{kind}"


def encode_rows(rows: Rows, made_of: Mapping[str, str], kind: str) -> bytes:
    """Return the rows as one of FORMATS.

    Parquet has `made_of` as its key-value metadata; a CSV, which has none, as columns. Missing numbers are null or empty,
    times UTC.
    """
    if kind not in FORMATS:
        raise ValueError(f"quotes are written as {' or '.join(FORMATS)}, found {kind!r}")
    fields = [f'nullif("{n}", \'nan\'::DOUBLE) AS "{n}"' if a.dtype.kind == "f" else f'"{n}"' for n, a in rows.items()]
    if kind == "csv":
        fields += [f"{quoted(value)} AS {name}" for name, value in made_of.items()]
        options = "FORMAT csv, HEADER, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ'"
    else:
        options = f"FORMAT parquet, KV_METADATA {{{', '.join(f'{n}: {quoted(v)}' for n, v in made_of.items())}}}"
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as db:
        path = Path(folder) / f"quotes.{kind}"
        db.register("rows", rows)
        db.execute(f"COPY (SELECT {', '.join(fields)} FROM rows) TO {quoted(path)} ({options})")
        return path.read_bytes()
