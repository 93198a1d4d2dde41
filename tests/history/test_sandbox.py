"""What somebody types over the history can read this store and nothing else, and cannot take the machine with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from volsurface.bench.history_faults import INSTRUMENTS, START, open_writer, write_second
from volsurface.io.history.sandbox import Sandbox


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sql") / "simulated"
    writer = open_writer(root)
    for second in range(START, START + 70):
        write_second(writer, second)
    writer.flush()
    writer.maintain()
    writer.close()
    return root


@pytest.fixture(scope="module")
def sandbox(store: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox(store, seconds=0.5, rows=30, memory_mb=200)
    yield sandbox
    sandbox.close()


def files(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "there is no query"),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT 1; SELECT 2", "one SELECT is allowed, found SELECT and SELECT"),
        ("COPY (SELECT 1) TO '{store}/x.csv'", "found COPY"),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", "found COPY"),
        ("ATTACH '{store}/history.duckdb'", "found ATTACH"),
        ("PRAGMA database_list", "found PRAGMA"),
        ("SET threads = 8", "found SET"),
        ("CALL pragma_version()", "found CALL"),
        ("INSTALL httpfs", "found LOAD"),
        ("CREATE TABLE t (x INTEGER)", "found CREATE"),
        ("DROP VIEW quotes", "found DROP"),
        ("EXPORT DATABASE '{store}/x'", "found EXPORT"),
        ("EXPLAIN ANALYZE SELECT 1", "found EXPLAIN"),
        ("WITH gone AS (DELETE FROM quotes RETURNING *) SELECT * FROM gone", "found DELETE in it"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv() is not allowed"),
        ("SELECT * FROM read_parquet('{store}/quotes/hot/*.parquet')", "read_parquet() is not allowed"),
        ("WITH t AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM t", "read_text() is not allowed"),
        ("SELECT (SELECT content FROM read_blob('/etc/passwd'))", "read_blob() is not allowed"),
        ("SELECT 1 UNION ALL SELECT count(*) FROM glob('*')", "glob() is not allowed"),
        ("SELECT * FROM query('SELECT 1')", "query() is not allowed"),
        ("SELECT * FROM query_table('quotes')", "query_table() is not allowed"),
        ("SELECT * FROM duckdb_settings()", "duckdb_settings() is not allowed"),
        ("SELECT * FROM '/etc/passwd'", "'/etc/passwd' is a file"),
        ("SELECT * FROM '{store}/state.json'", "is a file"),
        ("SELECT * FROM nothing", "Table with name nothing does not exist"),
        ("SELECT * FROM history", "Table with name history does not exist"),
        ("SELECT nonsense\nFROM quotes", "LINE 1: SELECT nonsense"),
    ],
)
def test_whatever_is_not_one_select_over_this_store_is_refused_in_words(
    sandbox: Sandbox, store: Path, query: str, reason: str
) -> None:
    before = files(store)
    answer = sandbox.ask(query.replace("{store}", str(store)))
    assert reason in answer.error
    assert answer.rows == ()
    assert files(store) == before


def test_tables_and_macros_are_answered_with_plain_values(sandbox: Sandbox) -> None:
    answer = sandbox.ask("SELECT count(*) AS n, max(ts) AS last, NULL AS nothing, 'a' AS word FROM quotes;")
    assert answer.error == ""
    assert answer.columns == ("n", "last", "nothing", "word")
    assert answer.rows == ((70 * INSTRUMENTS, "2026-11-20T18:41:09.000000Z", None, "a"),)
    assert sandbox.ask(f"FROM quotes_at(make_timestamp({START + 69}000000))").error == ""
    assert {"quotes", "smiles"} <= {row[0] for row in sandbox.ask("SHOW TABLES").rows}


def test_only_the_first_rows_come_and_it_is_said_that_there_are_more(sandbox: Sandbox) -> None:
    answer = sandbox.ask("SELECT range AS n FROM range(1000) ORDER BY n DESC")
    assert [row[0] for row in answer.rows] == list(range(999, 969, -1))
    assert answer.more
    assert not sandbox.ask("SELECT * FROM range(30)").more


@pytest.mark.parametrize("query", ["SELECT count(*) FROM range(1000000000000)", "SELECT sleep_ms(60000)"])
def test_a_query_that_takes_too_long_is_ended_and_the_next_one_answered(sandbox: Sandbox, query: str) -> None:
    assert sandbox.ask(query).error == "interrupted: the query took more than 0.5 s"
    assert sandbox.ask("SELECT 1 AS x").rows == ((1,),)


@pytest.mark.parametrize("query", ["SELECT repeat('x', 4000000000)", "SELECT list_sum(range(500000000))"])
def test_a_query_that_needs_too_much_memory_is_refused_and_the_next_one_answered(sandbox: Sandbox, query: str) -> None:
    assert "emory" in sandbox.ask(query).error
    assert sandbox.ask("SELECT 1 AS x").rows == ((1,),)


def test_a_process_that_was_killed_is_replaced(sandbox: Sandbox) -> None:
    assert sandbox.ask("SELECT 1 AS x").rows == ((1,),)
    assert sandbox._process is not None
    sandbox._process.kill()
    sandbox._process.wait()
    assert sandbox.ask("SELECT 2 AS x").rows == ((2,),)


def test_a_store_that_is_not_there_is_an_answer_too(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "nothing")
    assert "could not be started" in sandbox.ask("SELECT 1").error
    sandbox.close()
