"""Snapshot and patches: the reader's surface is the sender's in every bit, a gap is seen, and a frame is made once."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_market import DAYS, publication, svi

from volsurface.errors import SequenceGap, TransportError
from volsurface.io import surface_columns
from volsurface.io.publication import Publication
from volsurface.io.surface_frames import FLOAT32, JSON, MSGPACK, FrameReader, FrameWriter
from volsurface.surface.quoted import COLUMNS


def refitted(old: Publication, row: int, factor: float = 1.01) -> Publication:
    """The same publication a moment later with one expiry's smile and mids moved."""
    smile = old.surface.smiles[row]
    moved = replace(smile, parameters=(smile.parameters[0] * factor, *smile.parameters[1:]), rmse_bp=smile.rmse_bp + 1)
    smiles = tuple(moved if i == row else each for i, each in enumerate(old.surface.smiles))
    mid = np.where(old.quotes.expiry_ns == smile.expiry_ns, old.quotes.mid_vol + 1e-3, old.quotes.mid_vol)
    return replace(
        old,
        surface_id=old.surface_id + 1,
        published_ns=old.published_ns + 10**8,
        changed=1 << row,
        surface=replace(old.surface, smiles=smiles, valuation_time_ns=old.surface.valuation_time_ns + 10**8),
        quotes=replace(old.quotes, mid_vol=mid),
    )


def mixed(old: Publication, row: int) -> Publication:
    """The same publication with one smile turned into a mixture."""
    smile = old.surface.smiles[row]
    parameters = (0.4, *svi(smile.years, 0.0), *svi(smile.years, 0.5))
    smiles = tuple(
        replace(each, model="mixture", parameters=parameters) if i == row else each
        for i, each in enumerate(old.surface.smiles)
    )
    surface = replace(old.surface, smiles=smiles)
    return replace(old, surface_id=old.surface_id + 1, surface=surface, model_words="two slices", model_gain=0.05)


def same_quotes(one: Publication, two: Publication) -> bool:
    return one.quotes.venues == two.quotes.venues and all(
        getattr(one.quotes, name).tobytes() == np.ascontiguousarray(getattr(two.quotes, name), dtype).tobytes()
        for name, dtype in COLUMNS.items()
    )


def read(reader: FrameReader, frame: bytes, form: str) -> None:
    reader.apply(frame.decode() if form == JSON else frame)


STEP = st.one_of(
    st.tuples(st.just("refit"), st.integers(0, len(DAYS) - 1)),
    st.tuples(st.just("mix"), st.integers(0, len(DAYS) - 1)),
    st.tuples(st.just("list"), st.integers(1, len(DAYS))),
    st.tuples(st.just("venues"), st.integers(0, 3)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=6), st.sampled_from([JSON, MSGPACK]))
def test_patches_lead_to_the_surface_sent(steps: list[tuple[str, int]], form: str) -> None:
    now, writer, reader = publication(noise=0.001), FrameWriter("BTC"), FrameReader()
    writer.update(now)
    read(reader, writer.snapshot(form), form)
    for what, row in steps:
        row_held = min(row, len(now.surface.smiles) - 1)
        if what == "refit" and now.surface.smiles[row_held].model == "svi":
            now = refitted(now, row_held)
        elif what == "mix":
            now = mixed(now, row_held)
        elif what == "list":
            now = publication(surface_id=now.surface_id + 1, noise=0.001, days=DAYS[-row:])
        else:
            now = replace(now, spot=math.nan, quotes=replace(now.quotes, venues=("deribit", f"venue{row}")))
        if writer.update(now):
            read(reader, writer.patch(form), form)
        got = reader.publication()
        assert got.surface == now.surface
        assert got.surface.digest == now.surface.digest
        assert (got.surface_id, got.published_ns, got.changed) == (now.surface_id, now.published_ns, now.changed)
        assert (got.model_words, got.model_gain) == (now.model_words, now.model_gain)
        assert math.isnan(got.spot) == math.isnan(now.spot)
        if form == MSGPACK:
            assert same_quotes(got, now)
        else:
            assert len(got.quotes) == 0


def test_a_gap_is_seen_and_a_snapshot_heals_it() -> None:
    writer, reader, now = FrameWriter("BTC"), FrameReader(), publication()
    writer.update(now)
    read(reader, writer.snapshot(JSON), JSON)
    writer.update(refitted(now, 1))
    writer.update(refitted(now, 2))
    with pytest.raises(SequenceGap, match="follows frame 2; the last one read is 1"):
        read(reader, writer.patch(JSON), JSON)
    assert reader.surface() == now.surface
    read(reader, writer.snapshot(JSON), JSON)
    assert reader.surface() == refitted(now, 2).surface


@pytest.mark.parametrize("form", [JSON, FLOAT32])
def test_a_patch_of_one_expiry_is_small(form: str) -> None:
    writer, now = FrameWriter("BTC"), publication(noise=0.001)
    writer.update(now)
    for row in range(len(DAYS)):
        writer.update(refitted(now, row))
        writer.update(now := refitted(refitted(now, row), row))
        assert len(writer.patch(form)) <= 2000


def test_a_frame_is_made_once_for_all_its_readers() -> None:
    writer = FrameWriter("BTC")
    first = publication()
    assert writer.update(first)
    assert not writer.update(first)
    assert writer.snapshot(JSON) is writer.snapshot(JSON)
    assert writer.encoded == 1
    with pytest.raises(ValueError, match="no patch before 2"):
        writer.patch(JSON)


@pytest.mark.parametrize("message", ["", "{}", "[1]", b"\xff\x00", '{"version":1,"type":"news"}', '{"version":1}'])
def test_what_is_no_frame_is_refused(message: str | bytes) -> None:
    with pytest.raises(TransportError):
        FrameReader().apply(message)


def test_another_version_and_another_surface_are_named() -> None:
    writer, reader = FrameWriter("BTC"), FrameReader()
    writer.update(publication())
    frame = writer.snapshot(JSON).decode()
    with pytest.raises(TransportError, match="version 2; this reader knows 1"):
        reader.apply(frame.replace('"version":1', '"version":2'))
    with pytest.raises(TransportError, match="no snapshot"):
        reader.surface()
    reader.apply(frame.replace('"forward":', '"forward":1', 1))
    with pytest.raises(TransportError, match="another surface"):
        reader.surface()


def test_columns_hold_what_is_drawn() -> None:
    writer, first = FrameWriter("BTC"), publication(noise=0.001)
    writer.update(first)
    frame = surface_columns.decode(writer.snapshot(FLOAT32))
    assert frame.is_snapshot and frame.seq == 1 and frame.base == 0 and frame.state == "certified"
    assert frame.rows.tolist() == list(range(len(DAYS)))
    assert frame.expiry_ms.tolist() == [smile.expiry_ns / 1e6 for smile in first.surface.smiles]
    smile = first.surface.smiles[3]
    assert frame.numbers[surface_columns.NUMBERS.index("atm_vol"), 3] == np.float32(smile.atm_vol)
    k = surface_columns.X * smile.atm_vol * np.sqrt(smile.years)
    np.testing.assert_allclose(frame.vol[3], smile.vol_at(k), rtol=1e-6)
    assert frame.quotes.shape[1] == frame.counts.sum() == first.quotes.used.sum()
    np.testing.assert_array_equal(frame.quotes[0], first.quotes.k[first.quotes.used].astype("f4"))

    second = refitted(first, 5)
    writer.update(second)
    patch = surface_columns.decode(writer.patch(FLOAT32))
    assert not patch.is_snapshot and (patch.seq, patch.base) == (2, 1)
    assert patch.rows.tolist() == [5]
    assert patch.quotes.shape[1] == patch.counts[0]


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=120))
def test_bytes_that_are_no_columns_are_refused(tail: bytes) -> None:
    for message in (tail, surface_columns.MAGIC + tail):
        with pytest.raises(TransportError):
            surface_columns.decode(message)
