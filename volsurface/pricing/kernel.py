"""The one decorator for compiled kernels, with a cache on disk that notices every edit and is shared by all processes.

Numba compares only the file that defines a kernel: after an edit in a *called* kernel of another file, or of a constant
there, a cached caller goes on running the old machine code. So the cache folder is named after the text of every module
in `pricing` and `surface`, the Python and the Numba version. Numba itself keeps CPU types apart inside it.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.registry import CPUDispatcher

try:
    import fcntl
except ImportError:  # not POSIX: numba's own renaming of files remains
    fcntl = None  # type: ignore[assignment]

# No wrapper for callers in C saves an eighth of the compilation.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
ROOMS = ("pricing", "surface")  # where kernels, and the constants they freeze, may live
KEPT_FOLDERS = 4  # caches of other versions that stay, for switching branches
KEPT_S = 86400.0  # and so does what was used within a day


@dataclass(frozen=True, slots=True)
class DeclaredKernel:
    """A kernel with the one signature that production uses, so that it can be compiled before it is needed."""

    name: str
    dispatcher: Any
    signature: str

    def compile(self) -> None:
        """Compile the kernel, or load its machine code from the cache."""
        self.dispatcher.compile(self.signature)


DECLARED: list[DeclaredKernel] = []


def kernel(signature: str | Callable[..., Any] | None = None, *, inline: bool = False) -> Any:
    """Compile a function in nopython mode: cached on disk, without the GIL, never raising on a division by zero.

    Bare (`@kernel`) the function is compiled for the types it is called with. With a signature (`@kernel("f8(f8, f8)")`)
    it is still compiled at its first call, and `warmup` can do so earlier. Kernels may call each other across modules;
    `inline=True` makes sure that one vanishes into its callers, without which their loops are not vectorised; called from
    Python it raises TypeError: not making that possible saves a fifth of the compilation.
    Division by zero gives inf or nan: Numba's default check costs four times the run time, because it forbids vectors.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options = {**OPTIONS, "forceinline": inline, "no_cpython_wrapper": inline}
        dispatcher: Any = numba.njit(**options)(function)
        if inline:
            dispatcher.__class__ = _InlineDispatcher
            return dispatcher
        config: Any = numba.config
        previous, config.CACHE_DIR = config.CACHE_DIR, str(CACHE_FOLDER)
        try:
            dispatcher._cache = _SharedCache(function)  # what cache=True sets, with our folder and lock
        finally:
            config.CACHE_DIR = previous
        if isinstance(signature, str):
            DECLARED.append(DeclaredKernel(f"{function.__module__}.{function.__name__}", dispatcher, signature))
        return dispatcher

    return decorate(signature) if callable(signature) else decorate


class _InlineDispatcher(CPUDispatcher):
    """A kernel without an entry for Python, where numba would jump to address zero."""

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.py_func.__name__} is an inline kernel: only other kernels can call it")


class _SharedCache(FunctionCache):
    """Numba's cache, safe when several processes fill it, harmless when the disk is full or a file is damaged or gone."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except (OSError, EOFError, ImportError, AttributeError, ValueError, UnpicklingError):
            return None  # compile again, and write the file again

    def save_overload(self, sig: Any, data: Any) -> None:
        # Two processes that save different signatures at once would give both the same file number: one at a time.
        with contextlib.suppress(OSError), _locked(Path(self.cache_path)):
            super().save_overload(sig, data)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it is given back by the system if the process dies."""
    with open(folder / ".lock", "wb") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def source_digest(package: Path) -> str:
    """Return 16 hex digits over the text of all kernel modules and the versions that turn it into machine code."""
    digest = hashlib.sha256(f"{platform.python_version()} {numba.__version__}".encode())
    for room in ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def cache_folder(package: Path) -> Path:
    """Return the existing, writable cache folder of this source: under the user's cache home, else the temp folder."""
    digest = source_digest(package)
    for home in (_user_cache(), _private_temp()):
        if home is None:
            continue
        folder = home / "kernels" / digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            os.utime(folder)
        except OSError:
            continue
        prune(folder)
        return folder
    return Path(tempfile.mkdtemp(prefix="volsurface-")) / digest  # nobody shares it, but everything works


def _user_cache() -> Path | None:
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named and os.path.isabs(named) else Path.home() / ".cache") / "volsurface"
    except RuntimeError:  # no home at all
        return None


def _private_temp() -> Path | None:
    """Return a folder in the temp folder that only this user can write: machine code is loaded from it."""
    folder = Path(tempfile.gettempdir()) / f"volsurface-cache-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    if hasattr(os, "getuid") and (folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022):
        return None
    return folder


def prune(folder: Path) -> None:
    """Remove caches of other source texts, except recent ones: they may belong to a process that still runs.

    Ages are measured against `folder`, whose time stamp was just renewed.
    """
    now = folder.stat().st_mtime
    with contextlib.suppress(OSError):  # another process prunes as well
        others = sorted(
            ((path.stat().st_mtime, path) for path in folder.parent.iterdir() if path != folder and path.is_dir()),
            reverse=True,
        )
        for changed, path in others[KEPT_FOLDERS:]:
            if now - changed > KEPT_S:
                shutil.rmtree(path, ignore_errors=True)


CACHE_FOLDER = cache_folder(Path(__file__).parents[1])
