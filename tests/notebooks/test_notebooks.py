"""Every notebook runs from its first cell to its last, and is stored without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def run(path: Path, folder: Path) -> str:
    """Execute a notebook with `folder` as working folder; return what its cells printed and showed as text."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    return "\n".join(output.get("text", "") or str(output.get("data", {}).get("text/plain", "")) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_by_saying_what_it_shows(path: Path) -> None:
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert "Shows" in first.source


def test_first_look_runs_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    text = run(next(path for path in NOTEBOOKS if path.stem == "first_look"), tmp_path)
    assert "no running server found" in text
    assert "BTC from a SIMULATED chain: 12 smiles" in text
    assert ":HeatMap" in text
    assert "no history" in text


def test_a_chain_is_fitted_and_its_certificate_checked(tmp_path: Path) -> None:
    text = run(next(path for path in NOTEBOOKS if path.stem == "fit_and_verify"), tmp_path)
    assert "BTC from a SIMULATED chain" in text
    assert "free of arbitrage" in text
    assert "verified in exact arithmetic: True" in text
    assert "refused: " in text


@pytest.mark.parametrize("there", [True, False], ids=["recorded", "without"])
def test_the_crash_week(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue("recorded") if there else tmp_path
    monkeypatch.setenv("VOLSURFACE_RECORDED", str(folder))
    text = run(next(path for path in NOTEBOOKS if path.stem == "crash_week"), tmp_path)
    if there:
        assert "highest 7-day vol: 10" in text
        assert "SIMULATED" not in text
    else:
        assert "what follows is SIMULATED and no crash" in text
    assert "surfaces: {'certified'" in text


def test_the_fit_is_tuned_with_widgets(tmp_path: Path) -> None:
    text = run(next(path for path in NOTEBOOKS if path.stem == "tune_fit"), tmp_path)
    assert "defaults: certified" in text
    assert "{'weighting': 'equal'}: certified" in text
    assert 'weighting = "equal"' in (tmp_path / "my_fit.toml").read_text()
