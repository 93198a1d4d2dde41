"""The ingest benchmark measures what it says: its frames have the stated size and all of them are understood."""

import pytest

from volsurface.bench import ingest
from volsurface.bench.ingest_venues import venue_rows
from volsurface.simulator.main import VENUES


def test_frames_have_the_size_of_real_ones():
    assert 720 <= len(ingest.ticker_frame(0, 0)) <= 820
    assert 270 <= len(ingest.book_frame(0, 1)) <= 340
    kinds = [frame.count(b'"ticker.') for frame in ingest.mixed_frames(1000)]
    assert sum(kinds) == 700


def test_every_variant_gives_a_figure():
    rows = ingest.run(
        messages=3000, repeats=1
    )  # raises when a frame is rejected, a book has a gap or a message is lost
    assert len(rows) == 6
    assert all(row["us"] > 0 for row in rows)


@pytest.mark.parametrize("venue", VENUES)
def test_every_venue_gives_its_figures(venue: str) -> None:
    rows = venue_rows([venue], messages=2000, sockets=venue == "deribit")  # raises when its own frames are rejected
    assert {"json alone", "msgspec alone", "codec + row table"} <= {row["what"] for row in rows}
    assert all(row["us"] > 0 and row["rows"] > 0.2 and row["bytes"] > 50 for row in rows)
