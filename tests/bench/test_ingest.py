"""The ingest benchmark measures what it says: its frames have the stated size and all of them are understood."""

from volsurface.bench import ingest


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
