"""A stream of one underlying's surface: a snapshot, then patches of what changed; made once per update for every reader.

Every frame has the number `seq`; a patch also has `base`, the number of the frame it is to be applied to. Who holds another
one has a gap and asks for the snapshot. Three forms of the same frames: `json` (the surface, numbers round-trip exact),
`msgpack` (that and the quotes, bit for bit: what the Python client reads), `columns` (float32, for drawing:
`io/surface_columns.py`).
"""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from volsurface.errors import SequenceGap, TransportError
from volsurface.io import surface_columns
from volsurface.io.publication import Publication
from volsurface.surface.instants import from_iso, to_iso
from volsurface.surface.quoted import COLUMNS, QuotedVols
from volsurface.surface.surface import Surface

VERSION = 1
JSON, MSGPACK, FLOAT32 = "json", "msgpack", "columns"
FORMS = (JSON, MSGPACK, FLOAT32)
SNAPSHOT, PATCH = "snapshot", "patch"
Fields = dict[str, Any]


def publication_head(publication: Publication) -> Fields:
    """Return what is said once per publication, as plain values: times as ISO text, an unknown spot as None."""
    surface = publication.surface
    return {
        "surface_id": publication.surface_id,
        "market_time": to_iso(publication.market_time_ns),
        "published": to_iso(publication.published_ns),
        "newest_quote": to_iso(publication.newest_quote_ns),
        "oldest_tick": to_iso(publication.oldest_tick_ns),
        "spot": publication.spot if math.isfinite(publication.spot) else None,
        "settings_version": publication.settings_version,
        "changed": publication.changed,
        "model_words": publication.model_words,
        "model_gain": publication.model_gain,
        "valuation_time": to_iso(surface.valuation_time_ns),
        "state": surface.state,
        "state_reason": surface.state_reason,
        "ok": surface.certificate.ok,
        "digest": surface.digest,
    }


class _Content:
    """One publication in the parts that a patch is made of; each is made when somebody asks."""

    def __init__(self, publication: Publication) -> None:
        self.publication = publication

    @cached_property
    def head(self) -> Fields:
        return publication_head(self.publication)

    @cached_property
    def smiles(self) -> dict[str, Fields]:
        """Each expiry's record with its verdict and that against the next expiry (absent for the last), nearest first."""
        fields = self.publication.surface.to_dict()
        butterfly, calendar = (fields["certificate"][name] for name in ("butterfly", "calendar"))
        return {
            smile["expiry"]: {
                **smile, "butterfly": butterfly[i], **({"calendar": calendar[i]} if i < len(calendar) else {})
            }
            for i, smile in enumerate(fields["smiles"])
        }  # fmt: skip

    @cached_property
    def quotes(self) -> dict[str, dict[str, bytes]]:
        """Each expiry's quotes as the bytes of its columns; the expiry itself is the key."""
        quotes = self.publication.quotes
        expiries, first = np.unique(quotes.expiry_ns, return_index=True)
        ends = [*first[1:], len(quotes)]
        return {
            to_iso(expiry): {
                name: np.ascontiguousarray(getattr(quotes, name)[start:end], dtype).tobytes()
                for name, dtype in COLUMNS.items()
                if name != "expiry_ns"
            }
            for expiry, start, end in zip(expiries.tolist(), first, ends)
        }


class FrameWriter:
    """Numbers the publications of one underlying and makes the frames; each form of each frame is made once."""

    def __init__(self, underlying: str) -> None:
        self.underlying = underlying
        self.seq = 0
        self.encoded = 0  # frames made so far, however many have read them
        self._now: _Content | None = None
        self._before: _Content | None = None
        self._made: dict[tuple[str, str], bytes] = {}

    def update(self, publication: Publication) -> bool:
        """Take the newest publication; return whether it is another one than before."""
        if self._now is not None and self._now.publication is publication:
            return False
        self._before, self._now = self._now, _Content(publication)
        self.seq += 1
        self._made.clear()
        return True

    def snapshot(self, form: str) -> bytes:
        """Return everything, as frame number `seq`."""
        return self._frame(SNAPSHOT, form)

    def patch(self, form: str) -> bytes:
        """Return what differs from frame `seq - 1`; only after two updates."""
        return self._frame(PATCH, form)

    def _frame(self, kind: str, form: str) -> bytes:
        frame = self._made.get((kind, form))
        if frame is None:
            if self._now is None or (kind == PATCH and self._before is None):
                raise ValueError(f"there is no {kind} before {2 if kind == PATCH else 1} publications")
            frame = self._made[kind, form] = self._make(self._now, self._before if kind == PATCH else None, form)
            self.encoded += 1
        return frame

    def _make(self, now: _Content, before: _Content | None, form: str) -> bytes:
        if form == FLOAT32:
            return surface_columns.encode(now.publication, before.publication if before else None, self.seq)
        fields: Fields = {"version": VERSION, "type": PATCH if before else SNAPSHOT, "underlying": self.underlying,
                          "seq": self.seq}  # fmt: skip
        if before is None:
            fields |= {"head": now.head, "smiles": list(now.smiles.values())}
        else:
            fields |= {"base": self.seq - 1, **_difference(now, before)}
        if form == MSGPACK:
            fields |= _quotes(now, before)
            return msgspec.msgpack.encode(fields)
        return msgspec.json.encode(fields)


def _difference(now: _Content, before: _Content) -> Fields:
    """`smiles`: records that are new or have other fields; `fields`: of the others, what changed; `order`: of expiries."""
    whole: list[Fields] = []
    parts: dict[str, Fields] = {}
    for expiry, record in now.smiles.items():
        old = before.smiles.get(expiry)
        if old is None or old.keys() != record.keys():
            whole.append(record)
        elif changed := {name: value for name, value in record.items() if value != old[name]}:
            parts[expiry] = changed
    fields: Fields = {"head": {name: value for name, value in now.head.items() if value != before.head[name]}}
    if whole:
        fields["smiles"] = whole
    if parts:
        fields["fields"] = parts
    if list(now.smiles) != list(before.smiles):
        fields["order"] = list(now.smiles)
    return fields


def _quotes(now: _Content, before: _Content | None) -> Fields:
    venues = now.publication.quotes.venues
    if before is None or before.publication.quotes.venues != venues:
        return {"venues": list(venues), "quotes": now.quotes, "quotes_gone": []}
    if before.publication.quotes is now.publication.quotes:
        return {}
    old = before.quotes
    changed = {expiry: columns for expiry, columns in now.quotes.items() if old.get(expiry) != columns}
    return {"quotes": changed, "quotes_gone": [expiry for expiry in old if expiry not in now.quotes]}


class FrameReader:
    """Keeps one underlying's surface from the frames of a stream, in the `json` or the `msgpack` form."""

    def __init__(self) -> None:
        self.seq = 0
        self.underlying = ""
        self._head: Fields = {}
        self._smiles: dict[str, Fields] = {}
        self._venues: tuple[str, ...] = ()
        self._quotes: dict[str, dict[str, bytes]] = {}

    def apply(self, message: str | bytes) -> None:
        """Take the next frame: text is `json`, bytes are `msgpack`.

        Raises SequenceGap when it follows another frame than the one held (ask for a snapshot then; the state stays), and
        TransportError when it is not a frame of this version.
        """
        try:
            frame = msgspec.json.decode(message) if isinstance(message, str) else msgspec.msgpack.decode(message)
            if frame["version"] != VERSION:
                raise TransportError(f"a frame has version {frame['version']!r}; this reader knows {VERSION}")
            self._apply(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            raise TransportError(f"not a frame of a surface stream: {error!r}") from error

    def _apply(self, frame: Mapping[str, Any]) -> None:
        records = {record["expiry"]: record for record in frame.get("smiles", ())}
        if frame["type"] == SNAPSHOT:
            self.underlying, self._head, self._smiles, self._quotes = frame["underlying"], frame["head"], records, {}
        elif frame["type"] != PATCH:
            raise TransportError(f"a frame is a snapshot or a patch, found {frame['type']!r}")
        elif frame["base"] != self.seq or frame["underlying"] != self.underlying:
            raise SequenceGap(f"a patch follows frame {frame['base']}; the last one read is {self.seq}")
        else:
            self._head = {**self._head, **frame["head"]}
            smiles = {**self._smiles, **records}
            for expiry, changed in frame.get("fields", {}).items():
                smiles[expiry] = {**smiles[expiry], **changed}
            self._smiles = {expiry: smiles[expiry] for expiry in frame.get("order", smiles)}
        if "quotes" in frame:
            gone = frame["quotes_gone"] if "venues" not in frame else list(self._quotes)
            kept = {expiry: columns for expiry, columns in self._quotes.items() if expiry not in gone}
            self._quotes = {**kept, **frame["quotes"]}
        self._venues = tuple(frame.get("venues", self._venues))
        self.seq = frame["seq"]

    def surface(self) -> Surface:
        """Return the surface; raises TransportError before the first snapshot, or when its digest is not the sender's."""
        if not self._head:
            raise TransportError("no snapshot has come yet")
        records = list(self._smiles.values())
        fields = {
            **self._head,
            "underlying": self.underlying,
            "smiles": records,
            "certificate": {
                "ok": self._head["ok"],
                "butterfly": [record["butterfly"] for record in records],
                "calendar": [record["calendar"] for record in records if "calendar" in record],
            },
        }
        try:
            surface = Surface.from_dict(fields)
        except (KeyError, TypeError, ValueError) as error:
            raise TransportError(f"the frames do not make a surface: {error!r}") from error
        if surface.digest != self._head["digest"]:
            raise TransportError("the frames make another surface than the one that was sent")
        return surface

    def publication(self) -> Publication:
        """Return the publication; its quotes are empty in the `json` form. Raises as `surface`."""
        surface, head = self.surface(), self._head
        return Publication(
            underlying=self.underlying,
            surface_id=head["surface_id"],
            market_time_ns=from_iso(head["market_time"]),
            published_ns=from_iso(head["published"]),
            newest_quote_ns=from_iso(head["newest_quote"]),
            oldest_tick_ns=from_iso(head["oldest_tick"]),
            changed=head["changed"],
            spot=math.nan if head["spot"] is None else float(head["spot"]),
            settings_version=head["settings_version"],
            model_words=head["model_words"],
            model_gain=head["model_gain"],
            surface=surface,
            quotes=self._quoted(),
        )

    def _quoted(self) -> QuotedVols:
        expiries = sorted(self._quotes, key=from_iso)
        columns = {
            name: np.frombuffer(b"".join(self._quotes[expiry][name] for expiry in expiries), dtype)
            for name, dtype in COLUMNS.items()
            if name != "expiry_ns"
        }
        counts = [len(self._quotes[expiry]["right"]) for expiry in expiries]  # one byte each
        expiry_ns = np.repeat(np.array([from_iso(expiry) for expiry in expiries], COLUMNS["expiry_ns"]), counts)
        return QuotedVols(self._venues, expiry_ns=expiry_ns, **columns)
