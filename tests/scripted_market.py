"""A scripted engine for page tests: surfaces of a known shape, a clock and faults that the test moves."""

import asyncio
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from volsurface.errors import SettingsError
from volsurface.io.publication import Publication
from volsurface.settings import Settings
from volsurface.surface.certificate import Certificate, Verdict
from volsurface.surface.quoted import REASON_CODE, QuotedVols
from volsurface.surface.smile import Smile
from volsurface.surface.surface import Surface

DAYS = (1, 2, 7, 14, 21, 30, 60, 90, 120, 180, 270, 360)
DAY_NS = 86_400_000_000_000
START_NS = 1_795_219_200_000_000_000  # 2026-11-21 08:00 UTC, as options expire
SPOT = {"BTC": 97_412.5, "ETH": 3_120.4}
OK = Verdict("ok", 0.0, 0.2, True, None)


def svi(years: float, phase: float) -> tuple[float, ...]:
    """Raw SVI of one expiry from an SSVI surface without arbitrage, its level moved by `phase`."""
    atm = 0.50 + 0.08 / (1 + 3 * years) + 0.03 * math.sin(phase)
    theta, rho = atm * atm * years, -0.25
    phi = 1.0 / math.sqrt(theta * (1 + theta))
    return (
        theta / 2 * (1 - rho * rho),
        theta * phi / 2,
        rho,
        -rho / phi,
        math.sqrt(1 - rho * rho) / phi,
    )


def publication(
    underlying: str = "BTC",
    phase: float = 0.0,
    surface_id: int = 1,
    now_ns: int = START_NS,
    days: tuple[int, ...] = DAYS,
    noise: float = 0.0,
    failed: int | None = None,
    violated: int | None = None,
    hole: int | None = None,
) -> Publication:
    """A surface and the quotes it was fitted to.

    noise: sd of the mids around the fit, in vol; 0: every residual is exactly zero. failed, violated, hole: row whose fit
    failed, that has a butterfly arbitrage, or whose middle quotes are missing.
    """
    rng = np.random.default_rng(surface_id)
    smiles, columns = [], []
    midnight = START_NS - START_NS % DAY_NS + DAY_NS // 3
    for row, d in enumerate(days):
        expiry_ns = midnight + d * DAY_NS
        years = (expiry_ns - START_NS) / (365 * DAY_NS)
        forward = SPOT[underlying] * math.exp(0.05 * years)
        smile = Smile(
            expiry_ns=expiry_ns, years=years, forward=forward, forward_source="future", model="svi",
            parameters=svi(years, phase), n_quotes=41, n_rejected=44, inside_spread=0.97, rmse_bp=1e4 * noise,
            max_error_bp=3e4 * noise, state="failed" if row == failed else "certified", quote_time_ns=now_ns,
            fit_time_ns=now_ns, method="free",
        )  # fmt: skip
        smiles.append(smile)
        sd = smile.atm_vol * math.sqrt(years)
        k = np.linspace(-2.2, 2.2, 41) * sd
        if row == hole:
            k = np.delete(k, np.s_[18:23])
        fit = np.asarray(smile.vol_at(k))
        mid = fit + rng.normal(0, noise, k.size) if noise else fit
        half = 0.004 + 0.006 * np.abs(k) / sd / math.sqrt(1 + 10 * years)
        columns.append(
            (np.full(k.size, expiry_ns), smile.forward * np.exp(k), k, np.where(k < 0, -1, 1), fit, mid, half)
        )
    expiry, strike, k, right, fit, mid, half = (np.concatenate(parts) for parts in zip(*columns))
    n = strike.size
    reason = np.zeros(n, "u1")
    reason[::37] = REASON_CODE["wide"]
    quotes = QuotedVols(
        venues=("deribit",), expiry_ns=expiry, strike=strike, k=k, right=right.astype("i1"), bid_vol=mid - half,
        ask_vol=mid + half, mid_vol=mid, fit_vol=fit, bid=mid, ask=mid, bid_size=np.ones(n), ask_size=np.ones(n),
        reason=reason, venue=np.zeros(n, "<i2"), iid=np.arange(n, dtype="<i4"), quote_time_ns=np.full(n, now_ns - 10**8),
        emphasis=np.ones(n, "f4"),
    )  # fmt: skip
    butterfly = tuple(
        Verdict("violated", -0.3, -0.012, True, (-0.34, -0.26)) if row == violated else OK for row in range(len(days))
    )
    certificate = Certificate.of(butterfly, (OK,) * (len(days) - 1))
    surface = Surface(underlying, now_ns, tuple(smiles), certificate, "certified" if certificate.ok else "failed")
    return Publication(
        underlying=underlying, surface_id=surface_id, market_time_ns=now_ns, published_ns=now_ns, newest_quote_ns=now_ns,
        oldest_tick_ns=now_ns, changed=(1 << len(days)) - 1, spot=SPOT[underlying] * (1 + 0.001 * math.sin(phase)),
        settings_version=1, surface=surface, quotes=quotes,
    )  # fmt: skip


class ScriptedClient:
    """Stands for `LiveClient`; what it says is set by the test."""

    def __init__(self) -> None:
        self.surfaces: dict[str, Publication] = {}
        self.previews: dict[str, Publication] = {}
        self.settings_object = Settings()
        self.settings = self.settings_object.values()
        self.settings_version = 1
        self.events: list[dict[str, Any]] = []
        self.connected, self.error = True, ""
        self.shift_ns = 0
        self.played: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.status: dict[str, Any] = {}
        self.moving = False
        self.frame = 0
        self.shape: dict[str, Any] = {"noise": 0.001}
        self._new = asyncio.Event()
        self.set_status()

    def now_ns(self) -> int:
        return time.time_ns() + self.shift_ns

    async def playback(self, **wanted: Any) -> dict[str, Any]:
        """Be a recording of a minute, when the test has made it one."""
        if not self.played:
            raise SettingsError("this market is not a recording")
        if wanted.get("speed") == 2.0:
            raise SettingsError("speed is refused")
        self.asked.append(wanted)
        self.played.update({name: value for name, value in wanted.items() if name != "seek"})
        self.played["position_ns"] = wanted.get("seek", self.played["position_ns"])
        return dict(self.played)

    def reset(self) -> None:
        """Go back to a still, healthy market, whatever a test has done."""
        self.connected, self.error, self.shift_ns, self.moving, self.shape = True, "", 0, False, {"noise": 0.001}
        self.settings_object.update(Settings().values())
        self.settings, self.settings_version = self.settings_object.values(), self.settings_version + 1
        self.set_status()
        self.step()

    def set_status(self, **changes: Any) -> None:
        """Say something else of venues and engine."""
        now = self.now_ns()
        venue = {
            "name": "deribit", "state": "live", "last_receive_ns": now, "last_venue_ns": now - 12_000_000, "lag_ms": 12.0, "clock_ms": 3.0,
            "drift_ppm": 2.0, "delay_ms": 15.0, "round_trip_ms": 6.0, "quoted": 700, "coverage": 0.9, "connections": 1,
            "connections_live": 1,
            "age_s": 0.05, "messages": 123_456, "messages_per_s": 5012.0, "rejected": 0, "gaps": 1, "reconnects": 0,
            "subscribed": 920, "listed": 920,
        }  # fmt: skip
        self.status = {
            "market_time_ns": now, "wall_time_ns": now, "source": "simulated", "run": "scripted", "venues": [venue],
            "messages_per_s": 5012.0, "spot": SPOT, "instruments": 1800, "backlog": 312, "steps": 1000, "step_ms": 12.3,
            "fits": 5400, "fit_ms": 1.9, "published": 900, "kernels": {"done": 7, "total": 7, "name": ""},
            "ledger": {
                "quotes": {"offered": 90000, "coalesced": 10000, "skipped": 50000, "done": 30000, "cpu_ms": 1234.0}
            },
            "audits": {"fits": {"audited": 31, "worst_bp": 0.412, "threshold_bp": 1.0, "breaches": 0}},
            "processes": {"feed": {"pid": 11, "cpu_s": 1.5, "cpu_percent": 8.1, "rss_mb": 82.0}},
            "largest_backlog": 425, "dropped_events": 0,
            "historian": None, "feed_error": "", "latency_ms": {"p50": 41.0, "p99": 180.0}, **changes,
        }  # fmt: skip
        self._new.set()

    def set_venue(self, **changes: Any) -> None:
        """Say something else of the one venue."""
        self.set_status(venues=[{**self.status["venues"][0], **changes}])

    def step(self, **shape: Any) -> None:
        """Publish the next frame of both coins."""
        self.frame += 1
        self.shape.update(shape)
        for underlying, days in (("BTC", DAYS), ("ETH", DAYS[1:8])):
            made = publication(underlying, 0.1 * self.frame, self.frame, START_NS, days, **self.shape)
            # Expiries stay where they are while the page's clock runs: only the publishing time is the clock's.
            self.surfaces[underlying] = replace(made, published_ns=self.now_ns(), market_time_ns=START_NS + 10**8)
        self._new.set()

    async def poll(self) -> bool:
        try:
            await asyncio.wait_for(self._new.wait(), 0.1)
        except TimeoutError:
            if self.moving and self.connected:
                self.set_status()
                self.step()
        new = self._new.is_set()
        self._new.clear()
        return new

    async def candidate(self, underlying: str, fit: dict[str, Any]) -> tuple[Surface, Surface]:
        """Answer as if the settings tried gave the surface of a later phase with half the residuals."""
        trial = Settings(self.settings)
        trial.update({"fit": fit}, "candidate")
        live = self.surfaces[underlying].surface
        smiles = tuple(replace(s, rmse_bp=s.rmse_bp / 2, inside_spread=0.99) for s in live.smiles)
        return live, replace(live, smiles=smiles)

    async def change_settings(self, values: dict[str, dict[str, Any]], who: str) -> int:
        if values.get("thresholds", {}).get("stale_s") == 13.0:
            raise SettingsError("thresholds.stale_s = 13.0 is refused; allowed: a luckier number")
        self.settings_object.update(values, who)
        self.settings_version += 1
        self.settings = self.settings_object.values()
        self._new.set()
        return self.settings_version
