"""A cold segment gives back every bit of what went into it, and short decimals are small in it."""

from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volsurface.io.history.packing import packed_select, stored_columns, unpacked_columns
from volsurface.io.history.schema import NO_INTEGER, NO_TIME, TABLES, encode, encoded_select
from volsurface.io.history.segments import COLD_OPTIONS, write_segment

QUOTES = TABLES["quotes"]
decimals = st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 9)).map(lambda pair: pair[0] / 10 ** pair[1])
percents = st.integers(0, 30_000).map(lambda hundredths: hundredths / 100 / 100)
numbers = st.one_of(decimals, percents, st.floats(), st.just(-0.0))
times = st.one_of(
    st.just(NO_TIME), st.integers(1_795_199_000_000, 1_795_201_000_000).map(lambda ms: ms * 1000),
    st.integers(0, 4_000_000_000_000_000),
)  # fmt: skip


def through_file(folder: Path, columns: dict[str, np.ndarray]) -> tuple[dict, dict, Path]:
    """Return the columns before and after they were in a cold segment, by row, and the segment."""
    path = folder / "1795200000000000.parquet"
    with duckdb.connect() as db:
        db.register("given", columns)
        db.execute(f"CREATE TABLE rows AS {encoded_select(QUOTES, 'given')}")
        write_segment(db, f"SELECT * FROM ({packed_select(QUOTES, 'rows')}) ORDER BY iid, ts", path, COLD_OPTIONS)
        before = db.execute("SELECT * FROM rows ORDER BY iid, ts").fetchnumpy()
        after = db.execute(f"SELECT {unpacked_columns(QUOTES)} FROM read_parquet('{path}')").fetchnumpy()
        return before, after, path


def quotes(n: int, **columns: object) -> dict[str, np.ndarray]:
    values: dict[str, object] = {"ts": np.arange(n) * 1_000_000 + 1_795_200_000_000_037, "run": "r", "settings_id": 1}
    values |= {"iid": np.arange(n, dtype="i4") % 3, "fwd_source": "future", "flags": 0} | columns
    return {column.name: encode(column, values.get(column.name), n) for column in QUOTES.columns}


def same_bits(before: dict, after: dict) -> None:
    assert list(before) == list(after)
    for name in before:
        one, other = np.ma.asarray(before[name]), np.ma.asarray(after[name])
        assert np.array_equal(np.ma.getmaskarray(one), np.ma.getmaskarray(other)), name
        there = ~np.ma.getmaskarray(one)
        if one.dtype.kind == "f":
            assert one.data[there].tobytes() == other.data[there].tobytes(), name
        else:
            assert list(one.data[there]) == list(other.data[there]), name


@settings(max_examples=12, deadline=None)
@given(rows=st.lists(st.tuples(numbers, numbers, times, st.integers(-5, 10_000)), min_size=1, max_size=40))
def test_any_number_comes_back_bit_for_bit(rows: list[tuple], tmp_path_factory: pytest.TempPathFactory) -> None:
    bid, mark, ts_venue, age_ms = (list(column) for column in zip(*rows))
    age_ms = [NO_INTEGER if age < 0 else age for age in age_ms]
    columns = quotes(len(rows), bid=np.array(bid), mark=np.array(mark), ts_venue=np.array(ts_venue, "i8"))
    columns["age_ms"] = np.array(age_ms, "i4")
    same_bits(*through_file(tmp_path_factory.mktemp("packed"), columns)[:2])


def test_short_decimals_are_whole_numbers_and_others_stay_beside_them(tmp_path: Path) -> None:
    bid = np.round(np.linspace(0.01, 0.02, 300), 4)
    bid[7] = np.pi
    iv = np.array([(6000 + i) / 100 / 100 for i in range(300)])
    before, after, path = through_file(tmp_path, quotes(300, bid=bid, iv_mark=iv))
    same_bits(before, after)
    stored = duckdb.sql(f"SELECT bid_unit, bid, iv_mark_unit, iv_mark FROM read_parquet('{path}')").fetchnumpy()
    assert set(stored["bid_unit"]) == {1e4}
    assert list(np.ma.asarray(stored["bid"]).compressed()) == [np.pi]
    assert set(stored["iv_mark_unit"]) <= {1e4, -1e2}
    assert np.ma.asarray(stored["iv_mark"]).count() <= 30


def test_a_recorded_market_packs_several_times_smaller_than_float64(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    n = 6000
    mark = np.round(np.repeat([0.05, 0.2, 0.01], n // 3) + np.cumsum(rng.normal(0, 2e-5, n)), 6)
    columns = quotes(n, mark=mark, iid=np.repeat(np.arange(3, dtype="i4"), n // 3))
    path = through_file(tmp_path, columns)[2]
    plain = tmp_path / "plain.parquet"
    with duckdb.connect() as db:
        db.register("given", columns)
        write_segment(db, f"{encoded_select(QUOTES, 'given')} ORDER BY iid, ts", plain)
    assert 2.5 * path.stat().st_size < plain.stat().st_size


def test_only_packed_tables_have_other_columns_in_cold_segments() -> None:
    for table in TABLES.values():
        assert [c.name for c in stored_columns(table, cold=False)] == table.names
        assert (stored_columns(table, cold=True) == list(table.columns)) is not table.packed
