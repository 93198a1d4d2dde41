"""Reads a recording back, record by record; a file that is cut, damaged or foreign is named, and the rest is still read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from volsurface.errors import RecordingError
from volsurface.io.recording import ENDING, FEED, HEADER, MAGIC, RECORD_HEAD, Entry
from volsurface.surface.instants import to_iso

CHUNK = 1 << 16  # of the file: what a damaged place takes with it at most
FORMAT = 1


class Recording:
    """A folder that `io.recording` wrote, or is still writing.

    damage: what could not be read, as sentences; it grows while `records` reads.
    Raises RecordingError when the folder cannot be read or holds no recording of a feed.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.damage: list[str] = []
        try:
            paths = sorted(self.folder.iterdir())
        except OSError as error:
            raise RecordingError(f"cannot read the recording in {folder}: {error.strerror}") from error
        self._parts: dict[str, dict[int, list[tuple[int, Path]]]] = {}
        for path in paths:
            if path.suffix == ENDING:
                self._place(path)
        if FEED not in self._parts:
            raise RecordingError(
                f"{folder} holds no recording: no file feed-*{ENDING}; make one with `volsurface record {folder}`"
            )

    def _place(self, path: Path) -> None:
        try:
            stream, start, part = path.stem.split("-")
            self._parts.setdefault(stream, {}).setdefault(int(start), []).append((int(part), path))
        except ValueError:
            self.damage.append(f"{path.name} is passed over: it is not named STREAM-TIME-PART{ENDING}")

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for runs in self._parts.values() for parts in runs.values() for _, path in parts)

    def has(self, stream: str) -> bool:
        """Return whether there is anything of a stream."""
        return stream in self._parts

    def span_ns(self) -> tuple[int, int]:
        """Return the times of the first and the last record of the feed; reads the last file."""
        runs, damage = self._parts[FEED], len(self.damage)
        last = first = min(runs)
        for _, path in runs[max(runs)][-1:]:
            for _, _, time_ns, _ in self._records_of(path):
                last = max(last, time_ns)
        del self.damage[damage:]  # said again by who reads the whole
        return first, last

    def records(self, stream: str) -> Iterator[Entry]:
        """Yield the (kind, connection, time_ns, payload) of a stream in the order of writing, without file headers."""
        for _, parts in sorted(self._parts.get(stream, {}).items()):
            before = -1
            for part, path in parts:
                if part != before + 1:
                    self.damage.append(f"{path.name} comes after a file that is missing")
                before = part
                yield from self._records_of(path)

    def _records_of(self, path: Path) -> Iterator[Entry]:
        unpack, head = RECORD_HEAD.unpack_from, RECORD_HEAD.size
        count, last_ns, rest = 0, 0, b""
        try:
            with path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    self.damage.append(f"{path.name} is passed over: it does not begin like a recording")
                    return
                packed = zstandard.ZstdDecompressor().decompressobj()
                while chunk := file.read(CHUNK):
                    try:
                        data = rest + packed.decompress(chunk)
                    except zstandard.ZstdError as error:
                        self._cut(path, f"is damaged ({error})", count, last_ns)
                        return
                    at, size = 0, len(data)
                    while at + head <= size:
                        length, kind, connection, _, time_ns = unpack(data, at)
                        end = at + head + length
                        if end > size:
                            break
                        payload = data[at + head : end]
                        at = end
                        if kind == HEADER:
                            self._check_header(path, payload)
                            continue
                        count += 1
                        last_ns = time_ns
                        yield kind, connection, time_ns, payload
                    rest = data[at:]
                if rest:
                    self._cut(path, "ends in the middle of a record", count, last_ns)
                elif not packed.eof:
                    self._cut(path, "has no end (cut, or still being written)", count, last_ns)
        except OSError as error:
            self.damage.append(f"{path.name} cannot be read: {error.strerror}")

    def _cut(self, path: Path, what: str, count: int, last_ns: int) -> None:
        upto = f"; read up to there: {count:,} records, the last of {to_iso(last_ns)}" if count else "; nothing read"
        self.damage.append(f"{path.name} {what}{upto}")

    def _check_header(self, path: Path, payload: bytes) -> None:
        found = json.loads(payload).get("format")
        if found != FORMAT:
            raise RecordingError(f"{path} has format {found}; this version reads format {FORMAT}")


def decoded(payload: bytes) -> Any:
    """Return the value of a JSON payload."""
    return json.loads(payload)
