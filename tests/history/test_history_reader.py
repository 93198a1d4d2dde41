"""A reader gets back what was published, bit for bit, and a sentence for what is not there."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest
from made_chains import made_chain
from surfaces import MARKET_NS, publication

import volsurface as vs
from volsurface.bench.history_faults import BLOCK_US, START, open_writer, write_second
from volsurface.engine.chain_fit import fit_chain
from volsurface.engine.history_rows import HistoryRows
from volsurface.errors import HistoryError
from volsurface.io.history.compaction import Ages
from volsurface.io.history.reader import History
from volsurface.io.history.schema import VERSION
from volsurface.io.history.segments import hot_segments, load_state
from volsurface.io.history.writer import Writer
from volsurface.surface.options import FitOptions

S = 10**9


@pytest.fixture
def stored(new_store: Path) -> Iterator[Writer]:
    """BTC published at +0, +10 and +20 s, ETH at +10 s."""
    writer = Writer(new_store, "test", block_us=BLOCK_US, ages=Ages(0.0, 0.0), min_free_bytes=0)
    rows = HistoryRows(writer)
    for second, underlyings in ((0, ["BTC"]), (10, ["BTC", "ETH"]), (20, ["BTC"])):
        rows.begin((START + second) * S)
        for underlying in underlyings:
            rows.publication(publication(second, underlying, shift=second * 1e-3 / 3))
    writer.flush()
    yield writer
    writer.close()


def test_a_surface_comes_back_with_every_bit(stored: Writer) -> None:
    with History(stored.root) as history:
        for second, published in ((0, 0), (9, 0), (10, 10), (19.999999, 10), (20, 20), (500, 20)):
            surface = history.surface_at(round((START + second) * 1e6) * 1000, "BTC")
            wanted = publication(published, shift=published * 1e-3 / 3).surface
            assert surface == wanted
            assert surface.digest == wanted.digest
        assert math.copysign(1.0, surface.smiles[0].parameters[3]) == -1.0
        assert surface.valuation_time_ns == MARKET_NS
        assert history.surface_at((START + 15) * S, "ETH").underlying == "ETH"


def test_it_comes_back_from_a_compacted_block_as_well(stored: Writer) -> None:
    write_second(stored, START + 100)
    stored.flush()
    for _ in range(3):  # compact, move the mark, delete
        assert stored.maintain() == ""
    assert hot_segments(stored.root, "surfaces") == hot_segments(stored.root, "smiles") == []
    with History(stored.root) as history:
        assert history.surface_at((START + 15) * S, "BTC") == publication(10, shift=10e-3 / 3).surface


def test_times_are_datetimes_texts_or_nanoseconds(stored: Writer) -> None:
    with History(stored.root) as history:
        wanted = publication(10, shift=10e-3 / 3).surface
        when = datetime.fromtimestamp(START + 12, UTC)
        for form in (when, when.replace(tzinfo=None), when.isoformat(), f"{when:%Y-%m-%dT%H:%M:%S}Z", (START + 12) * S):
            assert history.surface_at(form, "BTC") == wanted
        with pytest.raises(HistoryError, match=r"not a time: 'noon'"):
            history.surface_at("noon", "BTC")


def test_what_is_not_there_is_said_with_what_is(stored: Writer) -> None:
    with History(stored.root) as history:
        with pytest.raises(HistoryError, match=r"no surface of SOL .* stored: BTC 2026-11-20T18:40:00.* ETH"):
            history.surface_at((START + 5) * S, "SOL")
        with pytest.raises(HistoryError, match=r"no surface of BTC in the 3600 s up to 2026-11-20T18:39:59Z"):
            history.surface_at((START - 1) * S, "BTC")
        with pytest.raises(HistoryError, match=r"there are: 2026-11-27T08:00:00Z, 2026-12-25"):
            history.smile_at((START + 5) * S, "BTC", "2027-01-01T08:00:00Z")


def test_a_smile_by_its_expiry(stored: Writer) -> None:
    with History(stored.root) as history:
        assert history.smile_at((START + 5) * S, "BTC", "2026-11-27T08:00:00Z") == publication(0).surface.smiles[0]


def test_metrics_over_time(stored: Writer) -> None:
    with History(stored.root) as history:
        found = history.metric("atm_vol", "BTC", expiry="2026-11-27T08:00:00Z")
        assert found["value"][0] == publication(0).surface.smiles[0].atm_vol
        assert found["ts"].dtype == "datetime64[us]"
        assert len(found) == 3
        assert len(history.metric("rr25", "BTC", tenor=30, since=(START + 5) * S, until=(START + 15) * S)) == 1
        assert len(history.metric("rr25", "BTC", tenor=30, bucket_s=60)) == 1
        with pytest.raises(HistoryError, match=r"unknown metric 'rr26'; did you mean 'rr25'"):
            history.metric("rr26", "BTC", tenor=30)
        with pytest.raises(HistoryError, match=r"a tenor \(days\) or of an expiry, found tenor=None"):
            history.metric("rr25", "BTC")


def test_sql_takes_parameters_and_says_what_duckdb_says(stored: Writer) -> None:
    with History(stored.root) as history:
        assert history.sql("SELECT count(*) AS n FROM smiles WHERE underlying = $1", "ETH")["n"].tolist() == [3]
        assert list(history.sql("SELECT 1 AS a WHERE false").columns) == ["a"]
        with pytest.raises(HistoryError, match=r"Table with name smile does not exist"):
            history.sql("SELECT * FROM smile")


def test_an_answer_shows_itself(stored: Writer) -> None:
    with History(stored.root) as history:
        table = history.sql("SELECT n, CASE WHEN n > 2 THEN n / 7 END AS x, repeat('<b>', 30) AS t FROM range(25) r(n)")
    text = repr(table)
    assert "0.428571" in text
    assert text.endswith("(25 rows, the first 20 shown)")
    assert max(map(len, text.splitlines())) < 80
    assert "<td>0.428571</td><td>&lt;b&gt;" in table._repr_html_()
    assert np.isnan(table["x"][0])
    assert len(list(table.rows())) == len(table) == 25
    assert table.df().shape == (25, 3)


def test_a_reader_sees_what_is_written_after_it_was_opened(writer: Writer) -> None:
    with History(writer.root) as history:
        assert len(history.sql("SELECT * FROM quotes")) == 0
        write_second(writer, START)
        writer.flush()
        assert len(history.sql("SELECT * FROM quotes")) == 20


def test_the_live_store_is_taken_when_there_is_one(tmp_path: Path) -> None:
    for source in ("simulated", "live", "replay"):
        Writer(tmp_path / source, "r").close()
    assert History(tmp_path).source == "live"
    assert History(tmp_path, source="replay").source == "replay"
    assert History(tmp_path / "simulated").source == "simulated"
    with pytest.raises(HistoryError, match=r"unknown history source 'liv'; did you mean 'live'"):
        History(tmp_path, source="liv")


@pytest.mark.parametrize("case", ["none", "empty", "state", "json", "version"])
def test_a_folder_that_is_no_history_is_a_sentence(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "history"
    if case != "none":
        folder.mkdir()
    if case in ("state", "json", "version"):
        Writer(folder, "r").close()
        state = load_state(folder)
    if case == "state":
        (folder / "quotes" / "hot" / "0000000000000000.parquet").unlink()
    elif case == "json":
        (folder / "state.json").write_text("{")
    elif case == "version":
        state.version = 7
        state.save(folder)
    sentence = {
        "none": "there is no history folder",
        "empty": "holds no history: neither it nor a folder in it has a state.json",
        "state": "cannot read the history in .*: IO Error: No files found",
        "json": "state.json is damaged",
        "version": f"has history schema 7 of a newer program; this one reads and writes {VERSION}",
    }[case]
    with pytest.raises(HistoryError, match=sentence):
        History(folder)


def test_a_damaged_segment_is_named(stored: Writer) -> None:
    [segment] = hot_segments(stored.root, "smiles")
    segment.write_bytes(segment.read_bytes()[:-50])
    with History(stored.root) as history, pytest.raises(HistoryError, match=segment.name):
        history.sql("SELECT * FROM smiles")


def test_a_surface_whose_smiles_were_tampered_with_is_refused(stored: Writer) -> None:
    [segment] = hot_segments(stored.root, "smiles")
    query = f"SELECT * REPLACE (b * 1.0001 AS b) FROM read_parquet('{segment}')"
    duckdb.execute(f"COPY ({query}) TO '{segment}.new' (FORMAT parquet)")
    Path(f"{segment}.new").replace(segment)
    with History(stored.root) as history, pytest.raises(HistoryError, match="does not have its own digest"):
        history.surface_at((START + 5) * S, "BTC")


def test_events_of_a_kind(writer: Writer) -> None:
    rows = HistoryRows(writer)
    rows.event("disk", "full", "error")
    rows.event("restart", "again")
    rows.begin(START * S)
    writer.flush()
    with History(writer.root) as history:
        assert history.events()["kind"].tolist() == ["disk", "restart"]
        assert history.events(since=START * S, kind="disk")["text"].tolist() == ["full"]
        assert len(history.events(since=(START + 1) * S)) == 0


def test_a_surface_from_the_history_prices_bit_for_bit_and_its_certificate_is_proved(new_store: Path) -> None:
    fit = fit_chain(made_chain(), FitOptions())
    surface = fit.surface
    assert surface.state == "certified"
    now_ns = surface.valuation_time_ns
    writer = open_writer(new_store)
    rows = HistoryRows(writer)
    rows.begin(now_ns)
    rows.publication(replace(publication(), surface=surface, quotes=fit.quotes))
    writer.close()
    with History(new_store) as history:
        stored = history.surface_at(now_ns, surface.underlying)
    strikes = np.linspace(20_000.0, 300_000.0, 400)
    for one, other in zip(surface.smiles, stored.smiles, strict=True):
        assert np.asarray(one.vol(strikes)).tobytes() == np.asarray(other.vol(strikes)).tobytes()
        between = one.expiry_ns - 86_400 * 10**9
        if between > surface.smiles[0].expiry_ns:
            assert (
                np.asarray(surface.vol(strikes, between)).tobytes()
                == np.asarray(stored.vol(strikes, between)).tobytes()
            )
    assert vs.verify(stored).ok
