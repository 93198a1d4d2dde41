"""What /healthz says, from what the page process reports."""

from prometheus_client import CollectorRegistry, generate_latest
from scripted_market import ScriptedClient

from volsurface.api.routes import ROUTES, health, work_metrics

GOOD = {"frame_beat_s": 99.9, "engine_contact_s": 99.8, "pages": 2.0, "pages_watched": 1.0}


def test_a_working_process_is_healthy() -> None:
    code, answer = health(GOOD, 100.0)
    assert code == 200
    assert answer == {"ok": True, "engine_age_s": 0.2, "frame_age_s": 0.1, "pages": 2}


def test_a_silent_engine_or_loop_is_named() -> None:
    code, answer = health({**GOOD, "engine_contact_s": 0.0}, 1e9)
    assert code == 503
    assert "the engine does not answer" in str(answer["reason"])
    assert "the frame loop stands still" in str(answer["reason"])
    assert answer["engine_age_s"] is None or isinstance(answer["engine_age_s"], float)


def test_an_idle_loop_without_a_browser_is_healthy() -> None:
    assert health({**GOOD, "pages_watched": 0.0, "frame_beat_s": 1.0}, 100.0)[0] == 200


def test_before_the_first_page() -> None:
    assert health({}, 100.0)[0] == 503


def test_the_plugin_offers_its_routes() -> None:
    assert [path for path, _, _ in ROUTES][:3] == ["/healthz", "/metrics", "/live"]
    assert "/api/v1/surface/([^/]+)" in [path for path, _, _ in ROUTES]


async def test_the_ledger_the_audits_and_the_processes_are_metrics() -> None:
    class Scripted:
        def collect(self):
            yield from work_metrics(ScriptedClient().status)

    registry = CollectorRegistry()
    registry.register(Scripted())
    lines = generate_latest(registry).decode().splitlines()
    assert 'volsurface_work_total{outcome="skipped",stage="quotes"} 50000.0' in lines
    assert 'volsurface_work_cpu_seconds_total{stage="quotes"} 1.234' in lines
    assert 'volsurface_audit_worst_bp{work="fits"} 0.412' in lines
    assert 'volsurface_rss_megabytes{process="feed"} 82.0' in lines
    assert next(iter(work_metrics({}))).samples == []
