"""Routes beside the page, for `panel serve app.py --plugins volsurface.api.routes`: health, metrics, a short link."""

import json
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from tornado.web import RequestHandler

from volsurface.dashboard.frame_loop import readings

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


class _Collector:
    """Turns the readings into metrics at each scrape."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, value in readings().items():
            yield GaugeMetricFamily(f"volsurface_{name}", HELP.get(name, name), value=value)


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
]
