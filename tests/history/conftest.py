"""Stores of the history tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from store_process import open_writer

from volsurface.io.history.writer import Writer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store of source "simulated" belongs."""
    return tmp_path / "history" / "simulated"


@pytest.fixture
def writer(root: Path) -> Iterator[Writer]:
    """A writer with blocks of a minute and short waits."""
    writer = open_writer(root)
    yield writer
    writer.close()
