"""Routes beside the page, for `panel serve app.py --plugins volsurface.api.routes`: health, metrics, a short link,
and the surface API (`surface_routes.py`).
"""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from tornado.web import RequestHandler

from volsurface.api.surface_routes import SURFACE_ROUTES
from volsurface.dashboard.frame_loop import engine_status, readings

LATE_S = 10.0
HELP = {
    "frame_beat_s": "When the frame loop last finished a pass, seconds since 1970 UTC",
    "engine_contact_s": "When the engine last answered, seconds since 1970 UTC",
    "pages": "Pages held by this process",
    "pages_watched": "Pages with a browser connected",
    "page_update_ms": "CPU time of one page's update, smoothed",
    "loop_stall_ms": "How late the page loop woke up last",
}


def health(values: dict[str, float], now_s: float) -> tuple[int, dict[str, object]]:
    """Return the HTTP status and the answer of /healthz: 503 when the engine or the frame loop has gone quiet."""
    if not values:
        return 503, {"ok": False, "reason": "no page has started the services yet (start with --warm)"}
    engine_s, beat_s = now_s - values["engine_contact_s"], now_s - values["frame_beat_s"]
    reasons = []
    if engine_s > LATE_S:
        reasons.append("the engine does not answer")
    if values["pages_watched"] and beat_s > LATE_S:
        reasons.append("the frame loop stands still")
    answer = {
        "ok": not reasons,
        "engine_age_s": _age(engine_s),
        "frame_age_s": _age(beat_s),
        "pages": int(values["pages"]),
    }
    return (503 if reasons else 200), {**answer, **({"reason": "; ".join(reasons)} if reasons else {})}


def _age(seconds: float) -> float | None:
    return round(seconds, 3) if seconds < 1e8 else None  # never yet


def work_metrics(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield the engine's ledger, audits and processes, as the System tab shows them."""
    work = CounterMetricFamily(
        "volsurface_work", "Pieces of work of each stage since the start", labels=["stage", "outcome"]
    )
    cpu = CounterMetricFamily("volsurface_work_cpu_seconds", "Processor time of each stage", labels=["stage"])
    for stage, counts in (status.get("ledger") or {}).items():
        for outcome in ("offered", "coalesced", "skipped", "done"):
            work.add_metric([stage, outcome], counts[outcome])
        cpu.add_metric([stage], counts["cpu_ms"] / 1e3)
    worst = GaugeMetricFamily("volsurface_audit_worst_bp", "Largest error of skipped work found", labels=["work"])
    beyond = CounterMetricFamily("volsurface_audit_breaches", "Skipped work that was visible", labels=["work"])
    for kind, audit in (status.get("audits") or {}).items():
        worst.add_metric([kind], audit["worst_bp"])
        beyond.add_metric([kind], audit["breaches"])
    rss = GaugeMetricFamily("volsurface_rss_megabytes", "Memory of each process", labels=["process"])
    seconds = CounterMetricFamily("volsurface_cpu_seconds", "Processor time of each process", labels=["process"])
    for name, reading in (status.get("processes") or {}).items():
        rss.add_metric([name], reading["rss_mb"])
        seconds.add_metric([name], reading["cpu_s"])
    yield from (work, cpu, worst, beyond, rss, seconds)


class _Collector:
    """Turns the readings into metrics at each scrape."""

    def collect(self) -> Iterator[Metric]:
        for name, value in readings().items():
            yield GaugeMetricFamily(f"volsurface_{name}", HELP.get(name, name), value=value)
        yield from work_metrics(engine_status())


_registry = CollectorRegistry(auto_describe=False)
_registry.register(_Collector())


class HealthHandler(RequestHandler):
    """`/healthz`: 200 while the page process does its work, else 503 with the reason."""

    def get(self) -> None:
        code, answer = health(readings(), time.time())
        self.set_status(code)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer))


class MetricsHandler(RequestHandler):
    """`/metrics`: the readings in Prometheus' text form."""

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(generate_latest(_registry))


class LiveHandler(RequestHandler):
    """`/live`: the page, whatever the script is called."""

    def get(self) -> None:
        self.redirect("/app")


ROUTES: list[tuple[str, type[RequestHandler], dict[str, object]]] = [
    (r"/healthz", HealthHandler, {}),
    (r"/metrics", MetricsHandler, {}),
    (r"/live", LiveHandler, {}),
    *SURFACE_ROUTES,
]
