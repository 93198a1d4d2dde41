"""The kernel decorator: no stale machine code, one cache for all processes, and no failure where none can be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from volsurface.pricing import kernel
from volsurface.pricing.approximations import mills
from volsurface.pricing.greeks import greeks, implied_vols_and_greeks
from volsurface.pricing.implied_vol import implied_vols
from volsurface.pricing.warmup import KERNELS

PACKAGE = Path(kernel.__file__).parents[1]

CALLED = """
from volsurface.pricing.kernel import kernel

CONSTANT = {constant}

@kernel
def called(x):
    return {expression}
"""
CALLER = """
from volsurface.pricing.kernel import kernel
from volsurface.pricing.called import CONSTANT, called

@kernel("f8(f8)")
def caller(x):
    return called(x) + CONSTANT
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the decorator in a package of its own, with a kernel that calls one in another file."""
    package = tmp_path / "volsurface"
    (package / "pricing").mkdir(parents=True)
    (package / "surface").mkdir()
    for folder in (package, package / "pricing", package / "surface"):
        (folder / "__init__.py").touch()
    shutil.copy(PACKAGE / "pricing/kernel.py", package / "pricing")
    (package / "pricing/caller.py").write_text(CALLER)
    write_called(tmp_path)
    return tmp_path


def write_called(root: Path, expression: str = "2.0 * x", constant: float = 0.0) -> None:
    (root / "volsurface/pricing/called.py").write_text(CALLED.format(expression=expression, constant=constant))


def run(root: Path, code: str = "print(caller(10.0))", **environment: str) -> str:
    """Run code beside the copied package in a new process; returns what it printed."""
    prelude = "import sys; sys.path.insert(0, '.'); from volsurface.pricing.caller import caller\n"
    result = subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=root,
        env={**os.environ, "XDG_CACHE_HOME": str(root / "cache"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


COUNT_HITS = "caller(10.0); print(sum(caller.stats.cache_hits.values()), sum(caller.stats.cache_misses.values()))"


def test_an_edit_in_a_called_kernel_or_a_constant_is_noticed(copied: Path) -> None:
    assert run(copied) == "20.0"
    write_called(copied, expression="100.0 * x")
    assert run(copied) == "1000.0"  # numba alone goes on saying 20.0
    write_called(copied, expression="100.0 * x", constant=10.0)
    assert run(copied) == "1010.0"


def test_the_second_process_loads_what_the_first_compiled(copied: Path) -> None:
    assert run(copied, COUNT_HITS) == "0 1"
    assert run(copied, COUNT_HITS) == "1 0"


def test_a_damaged_cache_file_is_written_again(copied: Path) -> None:
    run(copied)
    files = list((copied / "cache").rglob("*.nbc"))
    assert files
    for file in files:
        file.write_bytes(b"not a pickle")
    assert run(copied) == "20.0"
    assert run(copied, COUNT_HITS) == "1 0"


def test_a_home_that_cannot_be_written_means_the_temp_folder(copied: Path) -> None:
    (copied / "cache").write_text("a file where the folder should be")
    (copied / "temp").mkdir()
    assert run(copied, TMPDIR=str(copied / "temp")) == "20.0"
    assert run(copied, COUNT_HITS, TMPDIR=str(copied / "temp")) == "1 0"
    (private,) = (copied / "temp").glob("volsurface-cache-*")
    assert private.stat().st_mode & 0o077 == 0


def test_a_temp_folder_that_others_can_write_is_not_trusted(copied: Path) -> None:
    (copied / "cache").write_text("")
    temp = copied / "temp" / f"volsurface-cache-{os.getuid()}"
    temp.mkdir(parents=True)
    temp.chmod(0o777)
    assert run(copied, TMPDIR=str(copied / "temp")) == "20.0"
    assert not list(temp.iterdir())


def test_processes_that_compile_at_once_share_one_sound_cache(copied: Path) -> None:
    code = "import sys; sys.path.insert(0, '.'); from volsurface.pricing.caller import caller; print(caller({}))"
    environment = {**os.environ, "XDG_CACHE_HOME": str(copied / "cache")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code.format(argument)],
            cwd=copied,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for argument in ("10.0", "10", "10.0", "10")  # two signatures, so that file numbers could collide
    ]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert float(out) == 20.0
    assert run(copied, "print(caller(10.0), caller(10))") == "20.0 20.0"


def test_old_caches_are_removed_but_not_those_in_use(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    now = ours.stat().st_mtime
    for age_days in range(10):
        (tmp_path / f"old{age_days}").mkdir()
        os.utime(tmp_path / f"old{age_days}", (0, now - age_days * 86400.0 - 60.0))
    kernel.prune(ours)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"ours", "old0", "old1", "old2", "old3"}


def test_the_cache_home_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = kernel.cache_folder(PACKAGE)
    assert folder.is_relative_to(tmp_path / "volsurface")
    assert folder.name == kernel.source_digest(PACKAGE)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert kernel.cache_folder(PACKAGE).is_relative_to(tmp_path / "home/.cache/volsurface")


def test_an_inline_kernel_called_from_python_says_so() -> None:
    with pytest.raises(TypeError, match="mills is an inline kernel"):
        mills(1.0)


def test_warmup_compiles_what_production_calls() -> None:
    for _, compile_one in KERNELS:
        compile_one()
    compiled = {declared.name: len(declared.dispatcher.signatures) for declared in kernel.DECLARED}
    frozen = np.array([14.0])
    frozen.flags.writeable = False
    vols = implied_vols(frozen, 100, [100, 101], 0.5, ["call", "put"])
    implied_vols_and_greeks(14.0, 100.0, 100.0, 0.5, 1, start=vols.vol)
    greeks(100.0, [90.0, 110.0], 0.5, 0.6, "put")
    assert {declared.name: len(declared.dispatcher.signatures) for declared in kernel.DECLARED} == compiled
    names = [name for name, _ in KERNELS]
    assert len(names) == len(set(names))
    assert "volsurface.pricing.batch.solve" in names
