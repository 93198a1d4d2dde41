"""The connections of one venue, as many as its limits require, each following its part of the instruments."""

import logging
from functools import partial

from volsurface.clock import Clock
from volsurface.io.connection import Connection
from volsurface.io.recording import RecordedCodecs
from volsurface.io.rest import RestClient, rest_url_beside
from volsurface.market.row_table import RowTable
from volsurface.settings import MarketSettings
from volsurface.venues.registry import connections_needed, make_codec, shard_url

BETWEEN_CONNECTIONS_S = 0.35  # to one venue: OKX allows three new ones a second

log = logging.getLogger("volsurface.engine.feed")


def venue_connections(
    venue: str, url: str, elsewhere: bool, market: MarketSettings, table: RowTable, clock: Clock, rest: RestClient,
    kept: RecordedCodecs | None = None,
) -> list[Connection]:  # fmt: skip
    """Return one venue's connections to `url`; elsewhere: that is not the venue's own address, nor is its REST's.

    kept: where everything that the codecs are given is recorded, if it is.
    """
    n = connections_needed(venue, len(market.underlyings), market.channels)
    rest_url = rest_url_beside(url) if elsewhere else None
    codecs = [make_codec(venue, market.underlyings, market.channels, table, rest_url, (i, n)) for i in range(n)]
    if kept is not None:
        made = {"venue": venue, "underlyings": market.underlyings, "channels": market.channels, "rest_url": rest_url}
        codecs = [kept.codec(codec, url, {**made, "shard": (i, n)}) for i, codec in enumerate(codecs)]
    found = []
    for i, codec in enumerate(codecs):
        name = venue if n == 1 else f"{venue} {i + 1}/{n}"
        wait_s = 0.0 if elsewhere else i * BETWEEN_CONNECTIONS_S
        on_state = partial(log.info, "%s %s", name)
        found.append(
            Connection(
                shard_url(venue, url, (i, n)),
                codec,
                clock,
                name=name,
                rest=rest,
                on_state=on_state,
                start_after_s=wait_s,
                fast_lane=market.fast_lane,
            )
        )
    return found
