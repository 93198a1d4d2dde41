"""One's own fits in the page's views: what is shown follows, and there is no engine to change."""

import panel as pn
import pytest
from scripted_market import publication

from volsurface.dashboard.choices import Choices
from volsurface.dashboard.own_fits import OwnFits
from volsurface.dashboard.views.fit import FitView
from volsurface.dashboard.views.smile import SmileView
from volsurface.errors import ServiceError


async def test_views_follow_what_is_shown() -> None:
    mine = OwnFits()
    first, second = publication(noise=0.001), publication(phase=1.0, surface_id=2, noise=0.001)
    mine.show(first.surface, first.quotes)
    view = SmileView(mine.hub, Choices(underlying="BTC"))
    assert pn.panel(view).get_root() is not None
    view.apply()
    before = view.top.sources["quotes"].data
    mine.show(second.surface, second.quotes)
    view.apply()
    assert view.top.sources["quotes"].data is not before
    pn.panel(FitView(mine.hub, Choices(underlying="BTC"))).get_root()
    assert mine.hub.client.surfaces["BTC"].surface_id == 2


async def test_there_is_no_engine_to_change() -> None:
    with pytest.raises(ServiceError, match="fit again"):
        await OwnFits().change_settings({"fit": {"robust": False}}, "me")
    assert not await OwnFits().poll()
