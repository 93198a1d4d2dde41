"""The floor plan as a test: what each room may import, and which rooms decide without doing."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "volsurface"
OURS = {
    "errors": set(),
    "version": set(),
    "clock": {"errors"},
    "settings": {"errors", "surface.options"},
    "pricing": {"errors"},
    "surface": {"pricing", "errors"},
    "market": {"pricing", "errors"},
    "venues": {"market", "errors"},
    "io": {"venues", "market", "surface", "settings", "clock", "errors", "version"},
    "engine": {"io", "venues", "market", "surface", "pricing", "settings", "clock", "errors", "version"},
    "simulator": {"venues", "market", "surface", "pricing", "settings", "clock", "errors"},
    "api": {
        "engine.client", "io.history", "io.publication", "io.quote_files", "io.surface_frames", "io.surface_columns", "surface",
        "market", "settings", "errors", "dashboard.frame_loop", "dashboard.hub", "dashboard.access",
    },
    "dashboard": {
        "engine.client", "io.history", "io.publication", "io.quote_files", "surface", "market", "pricing", "settings", "errors",
    },
    # What a command does and prints: everything but the page.
    "commands": {
        "engine", "io", "simulator", "venues", "market", "surface", "pricing", "settings", "clock", "errors", "version",
    },
}  # fmt: skip
FREE = {"bench", "cli", "__main__", "__init__"}  # may import any room; no logic lives in the last three
OUTSIDE = {
    "settings": {"param", "tomli_w"},
    "pricing": {"numba", "llvmlite"},
    "surface": {"numba", "scipy"},
    "venues": {"msgspec"},
    "io": {"websockets", "httpx", "duckdb", "msgspec", "nats", "zstandard"},
    "engine": {"psutil"},
    "simulator": {"websockets", "msgspec"},
    "api": {"tornado", "msgspec", "prometheus_client", "pyarrow"},
    "dashboard": {"panel", "panel_material_ui", "param", "holoviews", "bokeh", "pandas"},
    "commands": {"rich"},
}
PURE = {
    "pricing",
    "surface",
    "market",
    "venues",
    "engine/materiality.py",
    "engine/step.py",
    "engine/quote_vols.py",
    "engine/ledger.py",
    "engine/audit.py",
    "engine/chain_fit.py",
    "engine/expiry_fits.py",
    "engine/refinement.py",
    "engine/last_quotes.py",
    "engine/venue_status.py",
}
DOING = {"asyncio", "socket", "threading", "multiprocessing", "subprocess", "time", "random"}
# The compiler's cache is the one thing of the pure rooms that lives on disk.
EXCEPT = {("pricing/kernel.py", "time"), ("pricing/kernel.py", "threading")}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write absolute imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    inside = path.relative_to(PACKAGE)
    room = inside.parts[0].removesuffix(".py")
    if room in FREE:
        return
    assert room in OURS, f"{room} is not on the floor plan"
    pure = room in PURE or inside.as_posix() in PURE
    for name in imported_names(path):
        package, _, rest = name.partition(".")
        if package == "volsurface":
            allowed = OURS[room] | {room}
            assert any(rest == a or rest.startswith(a + ".") for a in allowed), f"{room} imports {name}"
        elif package in sys.stdlib_module_names:
            doing = pure and package in DOING and (inside.as_posix(), package) not in EXCEPT
            assert not doing, f"{inside} decides and must not do: {name}"
        else:
            assert package == "numpy" or package in OUTSIDE.get(room, set()), f"{room} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_opens_with_a_sentence(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text, f"{path.name} does not say what it is for"
    assert text.split("\n\n")[0].rstrip().endswith((".", ":", "?")), text.split("\n")[0]


def test_no_module_is_a_drawer() -> None:
    vague = {"base", "core", "common", "utils", "helpers", "manager"}
    assert not [path for path in MODULES if path.stem in vague]
