"""Stores of the history tests."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from volsurface.bench.history_faults import open_writer
from volsurface.io.history.writer import Writer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store of source "simulated" belongs."""
    return tmp_path / "history" / "simulated"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, made once: its many small files are quicker to copy than to write."""
    root = tmp_path_factory.mktemp("empty") / "store"
    open_writer(root).close()
    return root


@pytest.fixture
def new_store(empty_store: Path, root: Path) -> Path:
    """An empty store of its own for each test."""
    shutil.copytree(empty_store, root)
    return root


@pytest.fixture
def writer(new_store: Path) -> Iterator[Writer]:
    """A writer with blocks of a minute and short waits."""
    writer = open_writer(new_store)
    yield writer
    writer.close()
