"""The public names: each can be imported, and `import volsurface` alone stays light."""

import subprocess
import sys

import pytest

import volsurface

HEAVY = ("numba", "panel", "bokeh", "holoviews", "duckdb", "scipy", "websockets")


@pytest.mark.parametrize("name", volsurface.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(volsurface, name) is not None
    assert name in dir(volsurface)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'implied_volatility'"):
        _ = volsurface.implied_volatility


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, volsurface; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_starts_without_panel_or_numba() -> None:
    code = f"import sys, volsurface.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
