"""What all tests share: where recorded market data are, and how a test that needs something says that it is not there."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

# Recorded chains, frames and samples; they are never part of the repository.
RECORDED = Path(os.environ.get("VOLSURFACE_RECORDED", Path(__file__).parents[2] / "shared"))


def missing(reason: str) -> NoReturn:
    """Skip a test for lack of something outside the repository; a failure where nothing may be missing (`.ci/run`)."""
    if os.environ.get("VOLSURFACE_NOTHING_MISSING") == "1":
        pytest.fail(f"may not be skipped here: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded data (with `market/` and `samples/`); skips where there is none."""
    if not (RECORDED / "market").is_dir():
        missing(f"recorded market data are not at {RECORDED}; set VOLSURFACE_RECORDED to their folder")
    return RECORDED


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's Chromium; skips where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("no chromium on the PATH; install the package chromium to run the browser tests")
    return path
