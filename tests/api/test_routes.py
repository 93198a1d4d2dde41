"""What /healthz says, from what the page process reports."""

from volsurface.api.routes import ROUTES, health

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
    assert [path for path, _, _ in ROUTES] == ["/healthz", "/metrics", "/live"]
