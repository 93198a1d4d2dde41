"""One live run, recorded once for all tests here."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from live_run import LiveRun, record_live

from volsurface.engine.warm import compile_kernels


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveRun:
    compile_kernels()
    run = LiveRun(tmp_path_factory.mktemp("live") / "recording")
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(record_live(run))
    return run


@pytest.fixture(scope="session")
def plain(live: LiveRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same recording without the engine's stream."""
    folder = tmp_path_factory.mktemp("plain")
    for path in live.folder.glob("feed-*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder
