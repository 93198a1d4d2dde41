"""The page over a scripted engine: what `panel serve` runs in the browser tests."""

import scripted_process

from volsurface.dashboard import session

session.extensions()
session.open_page(scripted_process.PROCESS).servable()
