"""The service: what feed and engine say is in the store, and nothing that happens to them or to the disk stops it."""

import asyncio
import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from surfaces import publication

from volsurface.bench.history_faults import START
from volsurface.clock import SteppedClock
from volsurface.engine.feed import FeedServer
from volsurface.engine.historian import Historian, limits
from volsurface.engine.slots import SlotTable
from volsurface.errors import ServiceError
from volsurface.io.history import segments
from volsurface.io.history.reader import History
from volsurface.io.history.table import Table
from volsurface.io.places import ENGINE_SOCKET, FEED_SOCKET, HISTORIAN_FILE
from volsurface.io.transport.unix import UnixServer
from volsurface.io.transport.wire import encode_map
from volsurface.market.instrument import Instrument
from volsurface.market.row_table import RowTable
from volsurface.settings import Settings

S = 10**9
NAN = float("nan")


class Services:
    """A feed and an engine of one market, and a historian that is driven by hand."""

    def __init__(self, folder: Path, run_folder: Path, source: str = "simulated") -> None:
        self.store, self.run_folder, self.source = folder / "history" / source, run_folder, source
        self.clock = SteppedClock(START * S)
        self.new_feed(epoch=5)
        self.slots = SlotTable(epoch=9)
        self.engine = UnixServer(run_folder / ENGINE_SOCKET, self._slots)
        self.settings = Settings()
        self.settings.version = 1

    def new_feed(self, epoch: int) -> None:
        self.table = RowTable(epoch)
        self.table.watch(
            SimpleNamespace(
                venue="deribit", state="live", messages=0, superseded=0, rejected=0, gaps=0, reconnects=0, subscribed=0,
            listed=0,
                last_receive_ns=0, last_venue_ns=0,
            )
        )  # fmt: skip
        expiry_ns = (START + 30 * 86400) * S
        [self.iid] = self.table.listed(
            [Instrument("deribit", "A", "BTC", expiry_ns, 1.0, 1, "coin")], self.clock.now_ns()
        )
        self.feed = UnixServer(self.run_folder / FEED_SOCKET, FeedServer(self.table, self.clock).handle)

    async def _slots(self, kind: int, body: bytes) -> bytes:
        return await self.slots.reply(body)

    def historian(self) -> Historian:
        return Historian(self.settings, self.store, self.run_folder, self.source, "run", clock=self.clock)

    def say(self, bid: float = 0.05, surface_id: int | None = None) -> None:
        now_ns = self.clock.now_ns()
        self.table.ticker(self.iid, 0, now_ns, now_ns, 1, bid, *[NAN] * 10)
        if surface_id is not None:
            self.slots.set("surface.BTC", publication(surface_id).encode())
            self.slots.event("published", now_ns, digest="d")

    def stored(self, query: str) -> Table:
        with History(self.store) as history:
            return history.sql(query)


@pytest.fixture
def run_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vs") as folder:  # a socket's path must be short
        yield Path(folder)


@pytest.fixture
async def services(tmp_path: Path, run_folder: Path, new_store: Path) -> AsyncIterator[Services]:
    services = Services(tmp_path, run_folder)
    await services.feed.start()
    await services.engine.start()
    yield services
    await services.feed.close()
    await services.engine.close()


async def finish(historian: Historian) -> None:
    stop = asyncio.Event()
    stop.set()
    await historian.run(stop)


async def test_everything_said_is_stored_once(services: Services) -> None:
    historian = services.historian()
    services.slots.set("settings", encode_map({"version": 1, "values": services.settings.values()}))
    services.say(surface_id=1)
    await historian.second()
    services.clock.advance(1)
    await historian.second()
    services.clock.advance(1)
    services.say(bid=0.06, surface_id=2)
    await finish(historian)
    counts = services.stored(
        """SELECT 'quotes' AS t, count(*) AS n FROM quotes UNION ALL SELECT 'surfaces', count(*) FROM surfaces
        UNION ALL SELECT 'smiles', count(*) FROM smiles UNION ALL SELECT 'runs', count(*) FROM runs
        UNION ALL SELECT 'settings', count(*) FROM settings UNION ALL SELECT 'instruments', count(*) FROM instruments"""
    )
    assert dict(zip(counts["t"], counts["n"].tolist())) == {
        "quotes": 2, "surfaces": 2, "smiles": 6, "runs": 1, "settings": 1, "instruments": 1
    }  # fmt: skip
    status = json.loads((services.run_folder / HISTORIAN_FILE).read_text())
    assert status["rows_written"] >= 13
    assert (status["rows_dropped"], status["alarm"], status["run"]) == (0, None, "run")
    assert status["bytes"] > 0


async def test_a_change_of_settings_is_stored_with_who_and_rows_carry_its_version(services: Services) -> None:
    historian = services.historian()
    services.say()
    await historian.second()
    values = services.settings.values()
    changed = {**values, "history": {**values["history"], "flush_s": 2.0}}
    services.slots.set("settings", encode_map({"version": 2, "values": changed}))
    services.slots.event("settings", services.clock.now_ns(), who="page", version=2)
    services.clock.advance(1)
    await historian.second()
    services.clock.advance(1)
    services.say(0.07)
    await finish(historian)
    assert historian.settings.history.flush_s == 2.0
    rows = services.stored('SELECT settings_id, who, "values" FROM settings ORDER BY settings_id')
    assert rows["settings_id"].tolist() == [1, 2]
    assert rows["who"].tolist() == [None, "page"]
    assert json.loads(rows["values"][1]) == changed
    assert services.stored("SELECT settings_id FROM quotes ORDER BY ts")["settings_id"].tolist() == [1, 2]


async def test_it_goes_on_when_feed_and_engine_come_and_go(services: Services) -> None:
    await services.feed.close()
    await services.engine.close()
    historian = services.historian()
    await historian.second()
    await services.engine.start()
    await services.feed.start()
    services.say(surface_id=1)
    services.clock.advance(1)
    await historian.second()
    await services.feed.close()
    services.new_feed(epoch=6)
    services.clock.advance(1)
    await historian.second()
    await services.feed.start()
    services.clock.advance(1)
    services.say(0.07)
    await historian.second()
    await finish(historian)
    assert services.stored("SELECT bid FROM quotes ORDER BY ts")["bid"].tolist() == [0.05, 0.07]


async def test_a_full_disk_is_an_alarm_and_its_end_an_event(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian = services.historian()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    services.say()
    await historian.second()
    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "fsync", full)
        await historian._flush()
    status = json.loads((services.run_folder / HISTORIAN_FILE).read_text())
    assert "No space left on device" in status["alarm"]
    assert status["rows_dropped"] > 0
    services.clock.advance(1)
    services.say(0.06)
    await historian.second()
    await historian._flush()
    assert historian.status["alarm"] is None
    services.clock.advance(1)
    await finish(historian)
    assert services.stored("SELECT bid FROM quotes ORDER BY ts")["bid"].tolist()[-1] == 0.06
    events = services.stored("SELECT severity, text FROM events WHERE kind = 'disk' ORDER BY ts")
    assert events["severity"].tolist() == ["error", "info"]
    assert "writing again" in events["text"][1]


async def test_a_file_put_aside_at_the_start_is_an_event(services: Services) -> None:
    services.historian()._writer.close()
    (services.store / "quotes" / "hot" / f"{START}000000.parquet").write_bytes(b"PAR1 cut")
    historian = services.historian()
    await finish(historian)
    assert historian.status["put_aside"] == 1
    [text] = services.stored("SELECT text FROM events WHERE kind = 'disk'")["text"]
    assert text == f"quotes/hot/{START}000000.parquet was put aside into quarantine: not a Parquet file (8 bytes)"


async def test_a_second_historian_is_refused(services: Services) -> None:
    first = services.historian()
    with pytest.raises(ServiceError, match="already being written by process"):
        services.historian()
    await finish(first)


async def test_history_switched_off_writes_nothing(services: Services) -> None:
    services.settings.history.enabled = False
    historian = services.historian()
    services.say(surface_id=1)
    await historian.second()
    await finish(historian)
    assert historian.status["rows_written"] == 0


async def test_a_replay_that_starts_again_starts_its_store_again(tmp_path: Path, run_folder: Path) -> None:
    services = Services(tmp_path, run_folder, source="replay")
    await services.feed.start()
    await services.engine.start()
    historian = services.historian()
    for _ in range(3):
        services.say(0.05)
        services.clock.advance(600)
        await historian.second()
    await historian._flush()
    services.clock.set((START - 86400) * S)
    services.say(0.09)
    await historian.second()
    await finish(historian)
    rows = services.stored("SELECT bid, epoch(ts)::BIGINT AS s FROM quotes")
    assert (rows["bid"].tolist(), rows["s"].tolist()) == ([0.09], [START - 86400])
    assert len(services.stored("SELECT * FROM instruments")) == 1
    await services.feed.close()
    await services.engine.close()


@pytest.mark.parametrize(
    ("source", "check"),
    [
        ("simulated", lambda found: found.max_bytes == 1_000_000_000 and set(found.max_age_s.values()) == {86400.0}),
        ("live", lambda found: found.max_bytes == 10_000_000_000 and "events" not in found.max_age_s),
        ("replay", lambda found: found.max_age_s is None),
    ],
)
def test_what_is_kept(source: str, check: Callable[[object], bool]) -> None:
    assert check(limits(Settings().history, source))


def test_as_a_process_it_ends_with_its_parent_and_says_what_it_saved(tmp_path: Path, run_folder: Path) -> None:
    program = (
        "from pathlib import Path; from volsurface.engine.historian import main; from volsurface.settings import Settings; "
        f"raise SystemExit(main(Settings(), Path({str(tmp_path)!r}), Path({str(run_folder)!r}), 'simulated', 'r', watch_stdin=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "writing" not in process.stderr.readline():
        assert process.poll() is None
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "rows written, 0 dropped" in log
