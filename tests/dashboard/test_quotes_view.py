"""The Quotes tab: what is listed, filtered, sorted and downloaded."""

import io

import pytest
from scripted_market import ScriptedClient

from volsurface.dashboard.choices import Choices
from volsurface.dashboard.hub import SurfaceHub
from volsurface.dashboard.views.quotes import ALL, QuotesView


@pytest.fixture
async def view() -> QuotesView:
    client = ScriptedClient()
    client.step()
    hub = SurfaceHub(client, client.now_ns)
    hub.take()
    made = QuotesView(hub, Choices(underlying="BTC"))
    made.apply()
    return made


async def test_every_quote_is_listed_with_its_reason(view: QuotesView) -> None:
    assert view._drawn is not None
    quotes = view._drawn.publication.quotes
    table = view.table.value
    assert len(table) == len(quotes)
    assert (table["used, or why not"] == "used").sum() == quotes.used.sum()
    assert table["mid vol %"][7] == pytest.approx(100 * quotes.mid_vol[7], abs=0.006)
    assert set(table["expiry"]) == set(view._drawn.labels)
    shown = view.table.value
    view.apply()
    assert view.table.value is shown  # nothing new: nothing sent


async def test_filters_narrow_the_table_and_survive_a_new_surface(view: QuotesView) -> None:
    assert view.filters["reason"].options == [ALL, "used", "wide"]
    view.filters["reason"].value = "wide"
    view.filters["expiry"].value = "21DEC26"
    assert set(view.table.value["used, or why not"]) == {"wide"}
    assert set(view.table.value["expiry"]) == {"21DEC26"}
    n = len(view.table.value)
    view.hub.client.step()  # type: ignore[attr-defined]
    view.hub.take()
    view.apply()
    assert len(view.table.value) == n
    view.choices.underlying = "ETH"
    view.hub.client.step(hole=None)  # type: ignore[attr-defined]
    view.apply()
    assert view.filters["reason"].value == "wide"


async def test_a_download_holds_what_is_shown_and_says_simulated(view: QuotesView) -> None:
    view.filters["expiry"].value = "21DEC26"
    text = view._file("csv").getvalue().decode()
    lines = text.splitlines()
    assert len(lines) == len(view.table.value) + 1
    assert all(",SIMULATED,BTC," in line for line in lines[1:])
    assert view.downloads["csv"].filename.startswith("quotes_BTC_SIMULATED_")
    view.hub.client.set_status(source="replay")  # type: ignore[attr-defined]
    body = view._file("parquet")
    assert isinstance(body, io.BytesIO)
    assert body.getvalue()[:4] == b"PAR1"
    assert "_REPLAY_" in view.downloads["parquet"].filename
