"""What `app.py` gets for a session: a page, or the reason why there is none."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import panel as pn
import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc

from volsurface.dashboard import session
from volsurface.errors import SettingsError


@pytest.fixture
def asked_from(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a session of a request from an address."""
    monkeypatch.setattr(session, "_process", None)
    monkeypatch.setattr(session.access, "_waived", False)

    def make(address: str, **headers: str) -> Any:
        document = Document()
        request = SimpleNamespace(remote_ip=address, headers=headers, arguments={}, cookies={}, uri="/app")
        context = SimpleNamespace(request=request, session=None, id="probe")
        document._session_context = lambda: context
        return set_curdoc(document)

    return make


def words(page: pn.viewable.Viewable) -> str:
    return " ".join(pane.object for pane in page.select(pn.pane.HTML))


def never(argv: Sequence[str]) -> Any:
    raise AssertionError("services must not start for a refused page")


def test_another_machine_gets_a_sentence_and_no_services(asked_from: Any) -> None:
    with asked_from("192.168.1.7"):
        page = session.page(never, ["--venues", "deribit"])
    assert "--basic-auth" in words(page)
    assert "--allow-anonymous" in words(page)


def test_a_proxy_gets_it_too(asked_from: Any) -> None:
    with asked_from("127.0.0.1", **{"X-Forwarded-For": "127.0.0.1"}):
        assert "through a proxy" in words(session.page(never))


def test_services_that_cannot_start_are_explained_on_the_page(asked_from: Any) -> None:
    def refuse(argv: Sequence[str]) -> Any:
        raise SettingsError(f"unknown venue <b>{argv[-1]}</b>")

    with asked_from("127.0.0.1"):
        text = words(session.page(refuse, ["--venues", "deribt"]))
    assert "The services cannot start: unknown venue &lt;b&gt;deribt&lt;/b&gt;" in text


def test_the_flag_lets_another_machine_through(asked_from: Any) -> None:
    started = []

    def start(argv: Sequence[str]) -> Any:
        started.append(list(argv))
        raise SettingsError("far enough")

    with asked_from("192.168.1.7"):
        session.page(start, ["--allow-anonymous"])
    assert started == [["--allow-anonymous"]]
