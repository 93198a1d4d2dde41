"""Turns what feed and engine say each second into rows of the history, and decides which of it is worth one.

A quote is written when it has changed, at most once a second, and every live one at least once a minute: so a look back
over a minute finds every live quote, and one that is not found is dead.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volsurface.io.history.schema import NO_INTEGER, NO_TIME
from volsurface.io.history.writer import Writer
from volsurface.io.publication import Publication
from volsurface.io.transport.puller import Batch, FeedPuller
from volsurface.market.instrument import CALL, Instrument
from volsurface.market.quote import (
    CLOSED,
    EVENT_KINDS,
    FORWARD_NAMES,
    SEVERITIES,
    VENUE_STATES,
    forward_source,
)
from volsurface.surface.metrics import TenorMetrics
from volsurface.surface.quoted import REASONS, QuotedVols
from volsurface.surface.smile import PARAMETER_NAMES, Smile

KEYFRAME_US = 60_000_000
METRIC_STEP = 1e-4  # a metric is written when one of its vols has moved by 1 bp
IV_STEP = 1e-4  # a vol of a quote is written when it has moved by 1 bp,
IV_EVERY_US = 10_000_000  # at most this often: quotes and smiles of every second give it exactly
IV_PLACES = 6  # decimals of a vol kept: 0.01 bp
STATE_EVERY_US = 10_000_000  # how often a venue's and the work's counts are written
TENORS = (7.0, 14.0, 30.0, 60.0, 90.0, 180.0)  # days
_METRIC_NAMES = ("atm_vol", "skew", "curvature", "rr25", "bf25", "rr10", "bf10")
_VOLS = [_METRIC_NAMES.index(name) for name in ("atm_vol", "rr25", "bf25", "rr10", "bf10")]
_LIVE = VENUE_STATES.index("live")
_TRADE = EVENT_KINDS.index("trade")
_VENUE_MEASURES = ("delay_ms", "floor_ms", "drift_ppm", "round_trip_ms")
_VENUE_COUNTS = (
    "messages",
    "rejected",
    "gaps",
    "reconnects",
    "subscribed",
    "listed",
    "quoted",
    "connections",
    "connections_live",
)
_STAGE_COUNTS = ("offered", "skipped", "done")
_ROW_FLOATS = ("bid", "ask", "bid_sz", "ask_sz", "mark", "iv_bid", "iv_ask", "iv_mark", "fwd", "index", "oi")


class HistoryRows:
    """Writes rows of one feed and one engine; `begin` gives the time of those that follow."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._before_us = self._now_us = writer.last_us
        self._own_events: list[dict[str, Any]] = []
        self.forget()

    def forget(self) -> None:
        """Forget what was written last: the store was emptied."""
        self._forget_feed()
        self._smiles: dict[tuple[str, int], Smile] = {}
        self._metrics: dict[tuple[str, str, float], tuple[int, np.ndarray]] = {}
        self._measured: dict[tuple[str, int], np.ndarray] = {}
        self._stages: dict[tuple[str, str], dict[str, int]] = {}
        self._ledger_us = 0

    def _forget_feed(self) -> None:
        """Forget the feed's numbering: it has started anew."""
        self._instruments: list[Instrument] = []
        self._iids = np.empty(0, "i4")
        self._written_us = np.empty(0, "i8")
        self._venue_of = np.empty(0, "i4")
        self._venues: dict[str, int] = {}
        self._forwards: dict[tuple[bytes, bytes, int, int], float] = {}
        self._venue_states: dict[bytes, tuple[int, tuple[int, ...]]] = {}
        self._listed = np.empty(0, [("expiry_ns", "i8"), ("strike", "f8")])
        self._vols = np.empty((0, 3))
        self._used = np.empty(0, "u1")
        self._vols_us = np.empty(0, "i8")

    def begin(self, now_ns: int) -> None:
        """Start the next second, at the market's time `now_ns`."""
        self._before_us, self._now_us = self._writer.last_us, self._writer.tick(now_ns)
        for event in self._own_events:
            self._writer.append("events", 1, {"ts": self._now_us, "service": "historian", **event})
        self._own_events.clear()

    def event(self, kind: str, text: str, severity: str = "info", **detail: Any) -> None:
        """Write an event of the historian itself at the next second: this one's rows may be on disk already."""
        fields = {"kind": kind, "severity": severity, "text": text, "detail": _json(detail) if detail else None}
        self._own_events.append(fields)

    def settings(self, version: int, values: Mapping[str, Any], who: str | None) -> None:
        """Write the settings in force; rows from now on carry their version."""
        self._writer.settings_id = version
        self._writer.append("settings", 1, {"ts": self._now_us, "who": who, "values": _json(values)})

    def market(self, puller: FeedPuller, batch: Batch) -> None:
        """Write what a pull has brought: instruments, quotes, forwards and events."""
        if batch.snapshot:
            self._forget_feed()
        self._list(puller)
        self._quotes(puller, batch)
        self._forward_rows(batch)
        self._feed_events(batch)
        self._venue_rows(puller)

    def _list(self, puller: FeedPuller) -> None:
        known = len(self._instruments)
        fresh = [puller.directory[iid] for iid in range(known, len(puller.directory))]
        if not fresh:
            return
        numbered = [self._writer.iid(instrument.venue, instrument.symbol) for instrument in fresh]
        self._instruments += fresh
        self._iids = np.append(self._iids, np.array([iid for iid, _ in numbered], "i4"))
        self._written_us = np.append(self._written_us, np.zeros(len(fresh), "i8"))
        listed = [(instrument.expiry_ns, instrument.strike) for instrument in fresh]
        self._listed = np.append(self._listed, np.array(listed, self._listed.dtype))
        self._vols = np.append(self._vols, np.full((len(fresh), 3), np.nan), axis=0)
        self._used = np.append(self._used, np.zeros(len(fresh), "u1"))
        self._vols_us = np.append(self._vols_us, np.zeros(len(fresh), "i8"))
        venues = [self._venues.setdefault(instrument.venue, len(self._venues)) for instrument in fresh]
        self._venue_of = np.append(self._venue_of, np.array(venues, "i4"))
        new = [(iid, instrument) for (iid, is_new), instrument in zip(numbered, fresh) if is_new]
        self._writer.append(
            "instruments", len(new),
            {
                "ts": self._now_us,
                "iid": [iid for iid, _ in new],
                "venue": [i.venue for _, i in new],
                "native_symbol": [i.symbol for _, i in new],
                "underlying": [i.underlying for _, i in new],
                "expiry": [i.expiry_ns // 1000 for _, i in new],
                "strike": [i.strike for _, i in new],
                "option_type": ["call" if i.right == CALL else "put" for _, i in new],
                "settlement": [i.settlement for _, i in new],
                "contract_size": [i.contract_size for _, i in new],
                "price_unit_size": [i.price_unit_size for _, i in new],
                "tick": [i.tick_size for _, i in new],
            },
        )  # fmt: skip

    def _quotes(self, puller: FeedPuller, batch: Batch) -> None:
        """Write the rows that changed, and the live ones not written for a minute."""
        rows = puller.rows
        live = {record["name"].decode() for record in puller.venues if record["state"] == _LIVE}
        is_live = np.array([name in live for name in self._venues], bool)
        # A market's clock that went back must not silence an instrument until it has caught up.
        np.minimum(self._written_us, self._now_us, out=self._written_us)
        wanted = (
            (rows["version"] > 0) & (rows["flags"] & CLOSED == 0) & (self._now_us - self._written_us >= KEYFRAME_US)
        )
        if is_live.size:
            wanted &= is_live[self._venue_of]
        wanted[batch.changed] = True
        chosen = np.flatnonzero(wanted)
        self._written_us[chosen] = self._now_us
        rows = rows[chosen]
        received, seq, at_venue = rows["ts_recv_ns"], rows["seq"], rows["ts_venue_ns"]
        age_ms = np.clip((puller.feed_time_ns - received) // 1_000_000, 0, np.iinfo(np.int32).max)
        columns = {name: np.ascontiguousarray(rows[name]) for name in _ROW_FLOATS}
        columns |= {
            "ts": np.full(chosen.size, self._now_us),
            "iid": self._iids[chosen],
            "ts_venue": np.where(at_venue > 0, at_venue // 1000, NO_TIME),
            "age_ms": np.where(received > 0, age_ms, NO_INTEGER).astype("i4"),
            "seq": np.where(seq >= 0, seq, NO_TIME),
            "fwd_source": np.array(FORWARD_NAMES, object)[forward_source(rows["flags"])],
            "flags": rows["flags"].astype("i4"),
        }
        self._writer.append("quotes", chosen.size, columns)

    def _forward_rows(self, batch: Batch) -> None:
        newest = {
            (f["venue"], f["underlying"], int(f["expiry_ns"]), int(f["kind"])): float(f["value"])
            for f in batch.forwards
        }
        changed = {key: value for key, value in newest.items() if self._forwards.get(key) != value}
        self._forwards |= changed
        self._writer.append(
            "forwards", len(changed),
            {
                "ts": self._now_us,
                "venue": [venue.decode() for venue, _, _, _ in changed],
                "underlying": [underlying.decode() for _, underlying, _, _ in changed],
                "expiry": [expiry_ns // 1000 if expiry_ns else None for _, _, expiry_ns, _ in changed],
                "value": list(changed.values()),
                "source": [FORWARD_NAMES[kind] for _, _, _, kind in changed],
            },
        )  # fmt: skip

    def _feed_events(self, batch: Batch) -> None:
        self._trades(batch.events[batch.events["kind"] == _TRADE])
        events = batch.events[batch.events["kind"] != _TRADE]
        of = self._instruments_of(events)
        self._writer.append(
            "events", events.size,
            {
                "ts": self._clamped(events["ts_ns"]),
                "service": "feed",
                "venue": [instrument.venue if instrument else None for instrument in of],
                "kind": [EVENT_KINDS[kind] for kind in events["kind"]],
                "iid": [int(self._iids[iid]) if i else None for i, iid in zip(of, events["iid"])],
                "severity": [SEVERITIES[severity] for severity in events["severity"]],
                "text": [batch.texts.get(int(seq)) for seq in events["seq"]],
                **{name: np.ascontiguousarray(events[name]) for name in ("value", "size", "extra")},
            },
        )  # fmt: skip
        if batch.dropped:
            self.event("dropped", f"{batch.dropped} events of the feed were lost", "warning", count=batch.dropped)

    def _instruments_of(self, events: np.ndarray) -> list[Instrument | None]:
        return [self._instruments[iid] if 0 <= iid < len(self._instruments) else None for iid in events["iid"]]

    def _trades(self, trades: np.ndarray) -> None:
        of = self._instruments_of(trades)
        self._writer.append(
            "trades", trades.size,
            {
                "ts": self._clamped(trades["ts_ns"]),
                "iid": [int(self._iids[iid]) if i else None for i, iid in zip(of, trades["iid"])],
                "venue": [instrument.venue if instrument else None for instrument in of],
                "price": np.ascontiguousarray(trades["value"]),
                "size": np.abs(trades["size"]),
                "side": ["sell" if size < 0 else "buy" for size in trades["size"]],
                "iv": np.ascontiguousarray(trades["extra"]),
            },
        )  # fmt: skip

    def _venue_rows(self, puller: FeedPuller) -> None:
        """Write each venue every ten seconds, and at once what is wrong with one."""
        due = []
        for record in puller.venues:
            name, urgent = record["name"], tuple(int(record[field]) for field in ("state", "gaps", "reconnects"))
            last_us, last = self._venue_states.get(name, (-STATE_EVERY_US, ()))
            if last != urgent or not 0 <= self._now_us - last_us < STATE_EVERY_US:
                self._venue_states[name] = (self._now_us, urgent)
                due.append(record)
        received = np.array([record["last_receive_ns"] for record in due], "i8")
        at_venue = np.array([record["last_venue_ns"] for record in due], "i8")
        self._writer.append(
            "venues", len(due),
            {
                "ts": self._now_us,
                "venue": [record["name"].decode() for record in due],
                "state": [VENUE_STATES[record["state"]] for record in due],
                "lag_ms": np.where((received > 0) & (at_venue > 0), (received - at_venue) / 1e6, np.nan),
                "age_ms": np.where(received > 0, (puller.feed_time_ns - received) / 1e6, np.nan),
                **{name: np.array([record[name] for record in due], "f8") for name in _VENUE_MEASURES},
                **{name: [int(record[name]) for record in due] for name in _VENUE_COUNTS},
            },
        )  # fmt: skip

    def ledger(self, service: str, stages: Mapping[str, Mapping[str, Any]]) -> None:
        """Write what each stage of a service's work was offered, left out and did, from its counts since its start."""
        if 0 <= self._now_us - self._ledger_us < STATE_EVERY_US and self._stages:
            return
        self._ledger_us = self._now_us
        rows: list[dict[str, Any]] = []
        for stage, counts in stages.items():
            now = {name: int(counts.get(name, 0)) for name in _STAGE_COUNTS}
            before = self._stages.get((service, stage), dict.fromkeys(now, 0))
            if any(now[name] < before[name] for name in now):
                before = dict.fromkeys(now, 0)  # the service has started again
            self._stages[service, stage] = now
            more = {name: value for name, value in counts.items() if name not in now}
            rows.append(
                {"stage": stage, "detail": _json(more) if more else None} | {n: now[n] - before[n] for n in now}
            )
        columns = {name: [row[name] for row in rows] for name in ("stage", "detail", *_STAGE_COUNTS)}
        self._writer.append("ledger", len(rows), {"ts": self._now_us, "service": service, **columns})

    def engine_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write the engine's events; those it has from the feed came from the feed already."""
        own = [event for event in events if event.get("detail", {}).get("service") != "feed"]
        self._writer.append(
            "events", len(own),
            {
                "ts": self._clamped(np.array([event["ts_ns"] for event in own], "i8")),
                "service": "engine",
                "kind": [event["kind"] for event in own],
                "severity": [event["severity"] for event in own],
                "text": [event["text"] or None for event in own],
                "detail": [_json(event["detail"]) if event["detail"] else None for event in own],
            },
        )  # fmt: skip

    def _clamped(self, times_ns: np.ndarray) -> np.ndarray:
        """Return times in microseconds within this second: after the rows of the one before, not after its own."""
        return np.clip(times_ns // 1000, self._before_us + 1, self._now_us)

    def publication(self, publication: Publication) -> None:
        """Write a surface with its smiles and metrics."""
        surface, now_us = publication.surface, self._now_us
        certificate = surface.certificate
        common = {"ts": now_us, "underlying": surface.underlying, "surface_id": publication.surface_id}
        smiles = surface.smiles
        parameters = [dict(zip(PARAMETER_NAMES[smile.model], smile.parameters)) for smile in smiles]
        self._writer.append(
            "smiles", len(smiles),
            {
                **common,
                **{name: [own.get(name) for own in parameters] for name in _PARAMETERS},
                "expiry": [smile.expiry_ns // 1000 for smile in smiles],
                "quote_time": [smile.quote_time_ns for smile in smiles],
                "fit_time": [smile.fit_time_ns for smile in smiles],
                "quoted_low": [smile.quoted_k[0] if smile.quoted_k else None for smile in smiles],
                "quoted_high": [smile.quoted_k[1] if smile.quoted_k else None for smile in smiles],
                **{name: [getattr(smile, name) for smile in smiles] for name in _SMILE_FIELDS},
            },
        )  # fmt: skip
        self._writer.append(
            "surfaces", 1,
            {
                **common,
                "digest": surface.digest,
                "valuation_time": surface.valuation_time_ns,
                "newest_quote": publication.newest_quote_ns // 1000,
                "published": publication.published_ns // 1000,
                "spot": publication.spot,
                "state": surface.state,
                "state_reason": surface.state_reason or None,
                "certificate_ok": certificate.ok,
                "min_butterfly_margin": min((v.margin for v in certificate.butterfly), default=None),
                "min_calendar_margin": min((v.margin for v in certificate.calendar), default=None),
                "certificate": _json(certificate.to_dict()),
                "n_smiles": len(smiles),
            },
        )  # fmt: skip
        self._metric_rows(publication)
        self._vol_rows(publication.quotes)

    def _vol_rows(self, quotes: QuotedVols) -> None:
        """Write the vols of quotes that have moved, of options this feed's listing knows under the same number."""
        iids = quotes.iid
        known = np.flatnonzero((iids >= 0) & (iids < len(self._instruments)))
        listed = self._listed[iids[known]]
        # Just after a restart of the feed a surface may still count as the feed before did.
        same = (listed["expiry_ns"] == quotes.expiry_ns[known]) & (listed["strike"] == quotes.strike[known])
        rows = known[same]
        at = iids[rows]
        vols = np.column_stack([np.round(getattr(quotes, name)[rows], IV_PLACES) for name in _QUOTED_VOLS[:3]])
        moved = np.abs(vols - self._vols[at]) >= IV_STEP
        moved |= np.isnan(vols) != np.isnan(self._vols[at])
        np.minimum(self._vols_us, self._now_us, out=self._vols_us)
        age_us = self._now_us - self._vols_us[at]
        due = moved.any(axis=1) & (age_us >= IV_EVERY_US)
        due |= (quotes.reason[rows] != self._used[at]) | (age_us >= KEYFRAME_US)
        rows, at = rows[due], at[due]
        self._vols[at], self._used[at], self._vols_us[at] = vols[due], quotes.reason[rows], self._now_us
        self._writer.append(
            "ivs", rows.size,
            {
                "ts": self._now_us,
                "iid": self._iids[at],
                "used": np.array(REASONS, object)[quotes.reason[rows]],
                "k": np.round(quotes.k[rows], IV_PLACES),
                **{f"iv_{name[:3]}": np.round(getattr(quotes, name)[rows], IV_PLACES) for name in _QUOTED_VOLS},
            },
        )  # fmt: skip

    def _metric_rows(self, publication: Publication) -> None:
        surface = publication.surface
        measured: list[tuple[int | None, float | None, np.ndarray]] = []
        for smile in surface.smiles:
            key = (surface.underlying, smile.expiry_ns)
            before = self._smiles.get(key)
            if before is None or before.parameters != smile.parameters or before.years != smile.years:
                self._smiles[key], self._measured[key] = smile, _of_smile(smile)
            measured.append((smile.expiry_ns // 1000, None, self._measured[key]))
        if surface.smiles:
            first, last = surface.smiles[0].years, surface.smiles[-1].years
            for days in TENORS:
                if first <= days / 365.0 <= last:
                    measured.append((None, days, _of_tenor(surface.constant_tenor(days))))
        due = [entry for entry in measured if self._is_due(surface.underlying, *entry)]
        values = np.array([entry[2] for entry in due], "f8").reshape(-1, len(_METRIC_NAMES))
        self._writer.append(
            "metrics", len(due),
            {
                "ts": self._now_us,
                "underlying": surface.underlying,
                "expiry": [expiry for expiry, _, _ in due],
                "tenor": [days for _, days, _ in due],
                **{name: values[:, i].copy() for i, name in enumerate(_METRIC_NAMES)},
            },
        )  # fmt: skip

    def _is_due(self, underlying: str, expiry_us: int | None, days: float | None, values: np.ndarray) -> bool:
        key = (underlying, "expiry", float(expiry_us)) if expiry_us is not None else (underlying, "tenor", days or 0.0)
        last = self._metrics.get(key)
        if last is not None and 0 <= self._now_us - last[0] < KEYFRAME_US:
            if np.all(np.abs(values - last[1])[_VOLS] < METRIC_STEP):
                return False
        self._metrics[key] = (self._now_us, values)
        return True


_QUOTED_VOLS = ("bid_vol", "ask_vol", "mid_vol", "fit_vol")
_PARAMETERS = list(dict.fromkeys(name for names in PARAMETER_NAMES.values() for name in names))
_SMILE_FIELDS = (
    "model forward forward_source years n_quotes n_rejected inside_spread rmse_bp max_error_bp state method"
).split()


def _of_smile(smile: Smile) -> np.ndarray:
    return np.array(
        [smile.atm_vol, smile.skew, smile.curvature, smile.risk_reversal(0.25), smile.butterfly(0.25)]
        + [smile.risk_reversal(0.10), smile.butterfly(0.10)]
    )


def _of_tenor(metrics: TenorMetrics) -> np.ndarray:
    return np.array([getattr(metrics, name) for name in _METRIC_NAMES])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)
