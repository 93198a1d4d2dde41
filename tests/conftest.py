"""What all tests share: where recorded market data are, and how a test that needs something says that it is not there."""

import os
import shutil
from pathlib import Path

import pytest

# Recorded chains, frames and samples; they are never part of the repository.
RECORDED = Path(os.environ.get("VOLSURFACE_RECORDED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded data (with `market/` and `samples/`); skips where there is none."""
    if not (RECORDED / "market").is_dir():
        pytest.skip(f"recorded market data are not at {RECORDED}; set VOLSURFACE_RECORDED to their folder")
    return RECORDED


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's Chromium; skips where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on the PATH; install the package chromium to run the browser tests")
    return path
