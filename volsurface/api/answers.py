"""The answers of the surface API as plain values, from a publication or from what the page's process knows."""

import io
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from volsurface.api.schema import MAX_STRIKES, VERSION
from volsurface.dashboard.hub import SurfaceHub
from volsurface.errors import VenueError
from volsurface.io.publication import Publication
from volsurface.io.quote_files import quote_rows
from volsurface.io.surface_frames import publication_head
from volsurface.surface.instants import from_iso, to_iso
from volsurface.surface.metrics import tenor_metrics
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

Query = Mapping[str, str]
Fields = dict[str, Any]
TENORS = "7,14,30,60,90,180"
X = np.linspace(-2.5, 2.5, 41)


class NotThere(VenueError):
    """What was asked for does not exist; the sentence says what does."""


def underlyings(hub: SurfaceHub) -> Fields:
    """Return every underlying with its state; those without a surface yet are "waiting"."""
    return {
        "version": VERSION,
        "source": hub.source,
        "underlyings": [_underlying(hub, name) for name in known_underlyings(hub)],
    }


def known_underlyings(hub: SurfaceHub) -> list[str]:
    """Return the coins there are surfaces of, and those of the settings."""
    return list(dict.fromkeys((*hub.underlyings, *map(str, hub.setting("market", "underlyings", [])))))


def _underlying(hub: SurfaceHub, name: str) -> Fields:
    publication = hub.client.surfaces.get(name)
    if publication is None:
        return {"underlying": name, "state": "waiting", "surface_id": None, "published": None, "age_s": None,
                "expiries": []}  # fmt: skip
    return {
        "underlying": name,
        "state": publication.surface.state,
        "surface_id": publication.surface_id,
        "published": to_iso(publication.published_ns),
        "age_s": round(hub.age_s(name), 3),
        "expiries": [to_iso(smile.expiry_ns) for smile in publication.surface.smiles],
    }


def diagnostics(hub: SurfaceHub) -> Fields:
    """Return what the engine says of itself; from it a remote reader keeps what a local one has."""
    client = hub.client
    return {
        "version": VERSION,
        "connected": client.connected,
        "error": client.error,
        "source": hub.source,
        "status": client.status,
        "settings": client.settings,
        "settings_version": client.settings_version,
        "events": list(hub.events),
    }


def surface(publication: Publication, query: Query) -> Fields:
    """Return the newest surface."""
    return {**_which(publication), "surface": publication.surface.to_dict()}


def smile(publication: Publication, query: Query) -> Fields:
    """Return one smile, evaluated; raises NotThere for an expiry that is not listed, ValueError for strikes."""
    found = find_expiry(publication.surface, query["expiry"])
    strikes = _strikes(found, query.get("strikes", ""))
    place = next(i for i, each in enumerate(publication.surface.smiles) if each is found)
    return {
        **_which(publication),
        "smile": publication.surface.to_dict()["smiles"][place],
        "metrics": asdict(tenor_metrics(found.derivatives, found.years, "node")),
        "points": {
            "strike": strikes.tolist(),
            "k": np.log(strikes / found.forward).tolist(),
            "vol": np.asarray(found.vol(strikes)).tolist(),
            "density": np.asarray(found.density(strikes)).tolist(),
        },
    }


def metrics(publication: Publication, query: Query) -> Fields:
    """Return the metrics of expiries and tenors; raises ValueError for tenors that are no days."""
    days = _numbers("tenors", query.get("tenors", TENORS), 50)
    return {
        **_which(publication),
        "expiries": expiry_metrics(publication.surface),
        "tenors": [asdict(publication.surface.constant_tenor(float(day))) for day in days],
    }


def expiry_metrics(surface: Surface) -> list[Fields]:
    """Return the metrics of each listed expiry."""
    return [
        {
            "expiry": to_iso(smile.expiry_ns),
            "forward": smile.forward,
            "state": smile.state,
            **asdict(tenor_metrics(smile.derivatives, smile.years, "node")),
        }
        for smile in surface.smiles
    ]


def quotes(publication: Publication, query: Query) -> Fields:
    """Return the quotes as columns."""
    return {**_which(publication), "columns": quote_columns(publication, query)}


def quote_columns(publication: Publication, query: Query) -> dict[str, list[Any]]:
    """Return the columns, of one expiry or of used quotes only if the query says so."""
    quoted = publication.quotes
    used = query.get("used", "false")
    if used not in ("true", "false"):
        raise ValueError(f"used is true or false, found {used!r}")
    if "expiry" in query:
        quoted = quoted.take(quoted.expiry_ns == find_expiry(publication.surface, query["expiry"]).expiry_ns)
    if used == "true":
        quoted = quoted.take(quoted.used)
    return {name: _plain(column) for name, column in quote_rows(replace(publication, quotes=quoted)).items()}


def _plain(column: np.ndarray) -> list[Any]:
    """Return a column as a list; instants as ISO text."""
    if column.dtype.kind != "M":
        return list(column.tolist())
    instants = {each: to_iso(each * 1000) for each in np.unique(column.astype("i8")).tolist()}  # from microseconds
    return [instants[each] for each in column.astype("i8").tolist()]


def arrow_table(name: str, publication: Publication, query: Query) -> bytes:
    """Return the table of an answer as an Arrow IPC stream; raises ModuleNotFoundError without pyarrow."""
    import pyarrow as pa

    if name == "quotes":
        table = pa.table(quote_columns(publication, query))
    elif name == "metrics":
        table = pa.Table.from_pylist(expiry_metrics(publication.surface))
    else:
        records = publication.surface.to_dict()["smiles"]
        rows = [
            {**{key: value for key, value in record.items() if key != record["model"]},
             "parameters": list(record[record["model"]].items())}
            for record in records
        ]  # fmt: skip
        kind = pa.map_(pa.string(), pa.float64())
        inferred = pa.Table.from_pylist([{**row, "parameters": None} for row in rows])
        place = inferred.schema.get_field_index("parameters")
        table = inferred.set_column(place, "parameters", pa.array([row["parameters"] for row in rows], kind))
    which = {key: str(value) for key, value in _which(publication).items()}
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema.with_metadata(which)) as writer:
        writer.write_table(table.replace_schema_metadata(which))
    return sink.getvalue()


def has_arrow() -> bool:
    """Tell whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def find_expiry(surface: Surface, text: str) -> Smile:
    """Return the smile of an instant or a day given as text; raises NotThere naming the expiries there are."""
    try:
        wanted = from_iso(text)
    except ValueError:
        wanted = -1
    day = text.strip()
    for smile in surface.smiles:
        if smile.expiry_ns == wanted or to_iso(smile.expiry_ns)[:10] == day:
            return smile
    listed = ", ".join(to_iso(smile.expiry_ns) for smile in surface.smiles)
    raise NotThere(f"no expiry {text!r} of {surface.underlying}; there are: {listed}")


def _which(publication: Publication) -> Fields:
    head = publication_head(publication)
    names = ("surface_id", "published", "market_time", "spot", "digest")
    return {"version": VERSION, "underlying": publication.underlying, **{name: head[name] for name in names}}


def _strikes(smile: Smile, text: str) -> np.ndarray:
    if text:
        return _numbers("strikes", text, MAX_STRIKES)
    return smile.forward * np.exp(X * smile.atm_vol * np.sqrt(smile.years))


def _numbers(name: str, text: str, most: int) -> np.ndarray:
    parts = text.split(",")
    if len(parts) > most:
        raise ValueError(f"{name} has {len(parts)} numbers; at most {most} are allowed")
    try:
        values = np.array([float(part) for part in parts])
    except ValueError:
        raise ValueError(f"{name} are numbers between commas, found {text[:60]!r}") from None
    if not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError(f"{name} are positive numbers, found {text[:60]!r}")
    return values
