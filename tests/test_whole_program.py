"""The program as a user starts it: `panel serve app.py` on the simulated market, its services killed one at a time."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from volsurface.commands.serve import app_file, panel_command
from volsurface.engine.client import LiveClient
from volsurface.engine.launch import FLAGS
from volsurface.engine.supervisor import free_port
from volsurface.errors import SettingsError
from volsurface.io.history.reader import History
from volsurface.io.places import SERVICES_FILE, read_json, run_folder

SERVICES = {"simulator", "feed", "engine", "historian"}
START_S = 120.0  # a cold kernel cache on a busy machine
BACK_S = 30.0  # the promise is 5 s on a quiet machine; the test only proves that it comes back


class Server:
    """A page server in a child process, with its log in its data folder."""

    def __init__(
        self, data: Path, *flags: str, plain: bool = False, log_name: str = "server.log", **environment: str
    ) -> None:
        self.data, self.port = data, free_port()
        ours = ["--data", str(data), *flags]
        if plain:  # no flag of ours but the folder, none of Panel's but the port
            command = [sys.executable, "-m", "panel", "serve", str(app_file()), "--port", str(self.port), "--warm"]
            command += ["--args", *ours]
        else:
            command = panel_command(ours, port=self.port, address="127.0.0.1")
        self.log = data / log_name
        with open(self.log, "w") as log:
            variables = {**os.environ, "BOKEH_RESOURCES": "server", **environment}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)

    @property
    def run(self) -> Path:
        return run_folder(self.data.resolve())

    def services(self) -> dict[str, Any]:
        return (read_json(self.run / SERVICES_FILE) or {}).get("services", {})

    def pids(self) -> dict[str, int]:
        return {name: service["pid"] for name, service in self.services().items() if service["pid"]}

    async def until(self, what: Callable[[], Any], seconds: float, words: str) -> None:
        end = time.monotonic() + seconds
        while not what():
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{words}: not within {seconds:g} s; the log ends with:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.05)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short run folder of our own, so that a user's running server is not disturbed."""
    folder = tmp_path_factory.mktemp("r")
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    yield folder
    os.environ.pop("XDG_RUNTIME_DIR") if before is None else os.environ.update(XDG_RUNTIME_DIR=before)


@pytest.fixture(scope="module")
def server(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("data"), "--rate", "400")
    yield started
    started.end()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[LiveClient]:
    live = LiveClient(server.run)
    following = asyncio.create_task(_follow(live))
    await server.until(lambda: {"BTC", "ETH"} <= live.surfaces.keys() and live.connected, START_S, "first surfaces")
    yield live
    following.cancel()
    await live.close()


async def _follow(client: LiveClient) -> None:
    while True:
        if not await client.poll():
            await asyncio.sleep(0.02)


async def moves(server: Server, client: LiveClient, seconds: float = BACK_S) -> None:
    """Wait until both surfaces have been published anew, from quotes that are newer than now."""
    now_ns = time.time_ns()
    await server.until(
        lambda: client.connected and all(p.newest_quote_ns > now_ns for p in client.surfaces.values()),
        seconds,
        "surfaces from new quotes",
    )


async def test_surfaces_of_both_coins_move(server: Server, client: LiveClient) -> None:
    before = {name: publication.surface_id for name, publication in client.surfaces.items()}
    await moves(server, client)
    # The index comes once a second, so the first surfaces may be earlier.
    await server.until(lambda: all(p.spot > 0 for p in client.surfaces.values()), 10, "the spot index")
    # So may a surface of the venues that were the first to answer.
    full = lambda p: p.quotes.used.sum() > 500 and len(p.quotes.venues) == 5  # noqa: E731
    await server.until(lambda: all(map(full, client.surfaces.values())), START_S, "quotes of five venues")
    for name, publication in client.surfaces.items():
        assert publication.surface_id > before[name]
        assert 9 <= len(publication.surface.smiles) <= 14
        for smile in publication.surface.smiles:
            assert 0.1 < smile.atm_vol < 3.0
    assert client.status["source"] == "simulated"
    assert client.status["backlog"] <= client.status["instruments"]


async def test_the_server_is_healthy_before_any_page_is_opened(server: Server, client: LiveClient) -> None:
    def health() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=5) as answer:
                return int(answer.status)
        except OSError:
            return 0

    await server.until(lambda: health() == 200, 20, "health without a visitor")


async def test_a_setting_is_taken_by_the_engine_and_a_wrong_one_refused(server: Server, client: LiveClient) -> None:
    version = await client.change_settings({"fit": {"min_quotes": 8}}, "test")
    await server.until(lambda: client.settings_version == version, 5, "the new settings")
    assert client.settings["fit"]["min_quotes"] == 8
    for values, words in (
        ({"fit": {"min_quotes": 99}}, "from 3 to 40"),
        ({"market": {"rate": 7.0}}, "market.rate can only be set when the server starts"),
        ({"market": {"venues": ["nyse"]}}, "unknown venue 'nyse'"),
        ({"fit": 3}, "tables of values"),
    ):
        with pytest.raises(SettingsError, match=words):
            await client.change_settings(values, "test")
    assert client.settings["fit"]["min_quotes"] == 8


async def test_the_history_answers_in_another_process(server: Server, client: LiveClient) -> None:
    catalogue = server.data / "history" / "simulated" / "history.duckdb"
    code = (
        "import duckdb, sys; db = duckdb.connect(sys.argv[1], read_only=True);"
        "print([db.execute(f'SELECT count(*) FROM {t}').fetchone()[0] for t in ('quotes', 'smiles', 'metrics')])"
    )

    def counts() -> list[int]:
        if not catalogue.exists():
            return [0]
        done = subprocess.run([sys.executable, "-c", code, str(catalogue)], capture_output=True, text=True)
        return eval(done.stdout) if done.returncode == 0 else [0]

    await server.until(lambda: all(counts()), 60, "rows in the history")


async def test_the_readme_s_duckdb_example_answers(server: Server, client: LiveClient) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[1].rstrip().replace("\ndb.sql", "\nanswer = db.sql")
    done = subprocess.run(
        [sys.executable, "-c", example + "\nprint(len(answer.fetchall()))"],
        capture_output=True,
        text=True,
        cwd=server.data,
    )
    assert done.stdout.strip() == "12", done.stderr


async def test_the_notebook_opens_the_running_surface_and_its_history(server: Server, client: LiveClient) -> None:
    notebook = nbformat.read(Path(__file__).parents[1] / "notebooks" / "first_look.ipynb", as_version=4)
    kernel = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(server.data)}})
    await kernel.async_execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "BTC from the running server" in printed
    assert "source='simulated'" in printed


@pytest.mark.parametrize("service", ["feed", "engine", "historian", "simulator"])
async def test_a_killed_service_comes_back(server: Server, client: LiveClient, service: str) -> None:
    await server.until(lambda: server.pids().keys() >= SERVICES, 20, "all services")
    pid = server.pids()[service]
    os.kill(pid, signal.SIGKILL)
    await server.until(lambda: server.pids().get(service, pid) != pid, BACK_S, f"a new {service}")
    await moves(server, client)
    if service == "engine":
        await server.until(lambda: client.settings["fit"]["min_quotes"] == 8, 5, "settings kept over the restart")


async def test_a_second_server_joins_the_services_of_the_first(server: Server, client: LiveClient) -> None:
    await server.until(lambda: server.pids().keys() >= SERVICES, 20, "all services")
    before = server.pids()
    second = Server(server.data, plain=True, log_name="second.log")
    try:
        await second.until(lambda: "joined the services of another server" in second.log.read_text(), 30, "the join")
        await second.until(lambda: "app running at" in second.log.read_text(), 30, "the second page")
        await moves(server, client)
        assert server.pids() == before
    finally:
        second.end()
    assert second.process.returncode == 0
    await moves(server, client)
    assert server.pids() == before, "the second server's end does not stop the first one's services"


async def test_ctrl_c_ends_everything_and_says_what_was_saved(server: Server, client: LiveClient) -> None:
    await server.until(lambda: server.pids().keys() >= SERVICES, 20, "all services")
    children = [psutil.Process(pid) for pid in server.pids().values()]
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 0
    _, alive = psutil.wait_procs(children, timeout=1)
    assert not alive
    assert "rows saved in" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


async def test_no_orphan_is_left_when_the_server_is_killed(runtime: Path, tmp_path: Path) -> None:
    started = Server(tmp_path, "--rate", "50", "--no-history", plain=True)
    try:
        await started.until(lambda: {"simulator", "feed", "engine"} <= started.pids().keys(), 60, "services")
        children = [psutil.Process(pid) for pid in started.pids().values()]
        started.process.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    finally:
        started.end()


@pytest.mark.slow
async def test_a_first_start_shows_the_free_fit_and_publishes_nothing_until_it_is_certified(
    runtime: Path, tmp_path: Path
) -> None:
    started = Server(tmp_path, "--rate", "100", XDG_CACHE_HOME=str(tmp_path / "cold"))
    live = LiveClient(started.run)
    following = asyncio.create_task(_follow(live))
    try:
        await started.until(lambda: live.previews, START_S, "a preview")
        assert live.surfaces == {}
        assert {p.surface.state for p in live.previews.values()} == {"uncertified"}
        assert live.status["kernels"]["done"] < live.status["kernels"]["total"]
        await started.until(lambda: {"BTC", "ETH"} <= live.surfaces.keys(), START_S, "surfaces")
        assert {p.surface.certificate.ok for p in live.surfaces.values()} == {True}
        await started.until(lambda: not live.previews, BACK_S, "the end of the previews")
        await asyncio.sleep(6)  # a flush of the historian
    finally:
        following.cancel()
        await live.close()
        started.end()
    with History(tmp_path / "history") as history:
        states = history.sql("SELECT DISTINCT state FROM surfaces UNION SELECT DISTINCT state FROM smiles")["state"]
    assert set(states) <= {"certified", "stale", "fallback"}
    assert len(states)


# Every flag of ours, those together that can be given together: a server is started for each line.
TOGETHER = (
    ["venues", "services-log-level"],
    ["venue-url", "allow-anonymous"],
    ["chains", "speed"],
    ["replay", "no-history"],
    ["record", "underlyings", "rate", "seed", "config", "services-log-file"],
)
VALUES = {
    "venues": ["deribit"], "venue-url": ["deribit=ws://127.0.0.1:9/ws/api/v2"], "underlyings": ["BTC"], "rate": ["50"],
    "seed": ["3"], "speed": ["10"], "services-log-level": ["warning"], "no-history": [], "allow-anonymous": [],
}  # fmt: skip


def test_no_flag_is_forgotten() -> None:
    assert sorted(sum(TOGETHER, ["data"])) == sorted(name for name, *_ in FLAGS)


def value_of(flag: str, folder: Path) -> list[str]:
    """What a flag is given; the market stays small."""
    if flag in VALUES:
        return VALUES[flag]
    place = folder / {"config": "mine.toml", "services-log-file": "services.log", "chains": "chain.csv"}.get(
        flag, "frames"
    )
    if flag == "config":
        place.write_text("[market]\nrate = 50.0\n")
    elif flag == "replay":
        command = [
            sys.executable,
            "-m",
            "volsurface",
            "record",
            str(place),
            "--seconds",
            "1",
            "--rate",
            "200",
            "--no-fit",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    elif flag == "chains":
        header = "timestamp,venue,underlying,instrument,expiry,strike,right,bid,ask,settlement\n"
        row = "2026-01-05T00:00:00Z,deribit,BTC,BTC-27MAR26-100000-C,2026-03-27T08:00:00Z,100000,call,0.05,0.06,coin\n"
        place.write_text(header + row)
    return [str(place)]


@pytest.mark.parametrize("flags", TOGETHER, ids="+".join)
async def test_panel_passes_each_flag_on(runtime: Path, tmp_path: Path, flags: list[str]) -> None:
    values = [word for flag in flags for word in (f"--{flag}", *value_of(flag, tmp_path))]
    started = Server(tmp_path, *values, plain=True)
    try:
        await started.until(
            lambda: {"feed", "engine"} <= started.pids().keys(), 60, f"services with {' '.join(values)}"
        )
    finally:
        started.end()
