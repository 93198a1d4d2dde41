"""Writes a recording: everything that went into codecs and engine, in order and before any parsing, compressed.

A recording is a folder of files `<stream>-<start_ns>-<part>.vsrec`. A file is MAGIC, then one zstd frame of records; a
record is `u4 length, u1 kind, u1 connection, u2 0, i8 time_ns` and `length` bytes (docs/recording.md). The caller only
appends to a queue; a thread packs, compresses and writes, and what is in the file after each of its turns can be read
again whatever happens next.
"""

import json
import logging
import threading
from collections import deque
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, cast

import msgspec
import zstandard

from volsurface.errors import RecordingError
from volsurface.venues.codec import Codec

log = logging.getLogger(__name__)

MAGIC = b"VSREC\x01\r\n"
ENDING = ".vsrec"
FEED, ENGINE = "feed", "engine"  # the two streams: what codecs were given, what the engine did with it

# Kinds. HEADER opens every file, START a service's run, END is its clean end; LOST: payload says what is missing here.
HEADER, START, END, LOST = 1, 2, 3, 4
# Of a connection: what its codec was called with, and SENT, what it answered.
CONNECTED, DISCONNECTED, RECEIVED, TIMER, ANSWERED, SENT = 10, 11, 12, 13, 14, 15
ROWS = 20  # digest of the row table at this point
# Of the engine: one STEP, the settings it was given between two of them, and what it published.
STEP, SETTINGS, PUBLISHED = 30, 31, 32

RECORD_HEAD = Struct("<IBBHq")  # payload bytes, kind, connection, 0, time_ns
LEVEL = (
    3  # of zstd; market frames shrink about ten times and 100,000 of them take a quarter of a second of another core
)
WRITE_EVERY_S = 0.2  # at most this much is lost at a kill
PART_BYTES = 64 << 20
MAX_QUEUED = 1_000_000  # records; beyond, the disk has stopped and the feed must not fill the memory
RETRY_S = 1.0  # after the disk has refused

Entry = tuple[int, int, int, bytes]  # kind, connection, time_ns, payload


class Recorder:
    """One stream of a recording being written.

    folder: made if needed. stream: FEED or ENGINE. start_ns: names this run; also the time of its first record.
    max_bytes: of this run on disk; when it is reached the recording ends, which is logged, and the market goes on.

    lost: records that could not be kept so far. trouble: why the disk refuses now, or "". written_bytes: on disk.
    Raises RecordingError when the first file cannot be made.
    """

    def __init__(
        self, folder: Path, stream: str, start_ns: int, *, part_bytes: int = PART_BYTES, max_bytes: int = 20 * 10**9
    ) -> None:
        self.folder, self.stream = folder, stream
        self.lost = self.written_bytes = 0
        self.trouble = ""
        self._start_ns, self._part_bytes, self._max_bytes = start_ns, part_bytes, max_bytes
        self._queue: deque[Entry] = deque()
        self._part = 0
        self._file: BinaryIO | None = None
        self._lost_told = 0
        self._full = False
        self._wake = threading.Event()
        self._closing = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open_part()
        except OSError as error:
            raise RecordingError(f"cannot record in {folder}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._work, name=f"recorder {stream}", daemon=True)
        self._thread.start()

    def note(self, kind: int, connection: int, time_ns: int, payload: bytes = b"") -> None:
        """Keep a record, or count it as lost when the disk is far behind. Costs one append."""
        if len(self._queue) < MAX_QUEUED and not self._full:
            self._queue.append((kind, connection, time_ns, payload))
        else:
            self.lost += 1

    def status(self) -> dict[str, Any]:
        """Return where it writes, bytes written, records lost and what is the matter; plain values."""
        return {
            "folder": str(self.folder), "bytes": self.written_bytes, "lost": self.lost, "trouble": self.trouble or None
        }  # fmt: skip

    def close(self, time_ns: int) -> None:
        """Write what is queued and END; afterwards nothing is kept."""
        self.note(END, 0, time_ns)
        self._closing = True
        self._wake.set()
        self._thread.join()

    # -- the thread -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        pause_s = WRITE_EVERY_S
        while True:
            self._wake.wait(pause_s)
            last = self._closing
            entries = [self._queue.popleft() for _ in range(len(self._queue))]
            try:
                self._write(entries, last)
                pause_s, self.trouble = WRITE_EVERY_S, ""
            except OSError as error:
                self._give_up_part(error, len(entries))
                pause_s = RETRY_S
            if last:
                return

    def _write(self, entries: list[Entry], last: bool) -> None:
        if self._full:
            return
        if self._file is None:
            self._open_part()
        if self.lost > self._lost_told:
            text = f"{self.lost - self._lost_told} records could not be kept"
            entries.insert(0, (LOST, 0, entries[0][2] if entries else self._start_ns, text.encode()))
            self._lost_told = self.lost
        if entries:
            self._put(self._packer.compress(_packed(entries)) + self._packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        if self.written_bytes >= self._max_bytes and not last:
            self._full = True
            log.error("the recording in %s ends: it has reached %d MB", self.folder, self._max_bytes // 10**6)
            text = f"the recording has reached its limit of {self._max_bytes // 10**6} MB"
            self._put(self._packer.compress(_packed([(LOST, 0, entries[-1][2], text.encode())])))
        if last or self._full or (self._file is not None and self._file.tell() >= self._part_bytes):
            self._close_part()

    def _open_part(self) -> None:
        name = f"{self.stream}-{self._start_ns:019d}-{self._part:04d}{ENDING}"
        self._file = (self.folder / name).open("xb", buffering=0)
        self._packer = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        header = {"format": 1, "stream": self.stream, "run": self._start_ns, "part": self._part}
        self._part += 1
        self._put(MAGIC + self._packer.compress(_packed([(HEADER, 0, self._start_ns, encoded(header))])))

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        written = self._file.write(data)
        self.written_bytes += written or 0
        if written != len(data):
            raise OSError(28, "the disk is full")

    def _close_part(self) -> None:
        self._put(self._packer.flush())
        assert self._file is not None
        self._file.close()
        self._file = None

    def _give_up_part(self, error: OSError, entries: int) -> None:
        """Leave the file as it is, readable up to here; the next try starts another one."""
        self.lost += entries
        if not self.trouble:
            log.error("cannot record in %s: %s", self.folder, error.strerror)
        self.trouble = f"cannot record in {self.folder}: {error.strerror}"
        if self._file is not None:
            self._file.close()
            self._file = None


class RecordedCodec:
    """A codec whose inputs are noted before it gets them; everything else is the codec's own."""

    def __init__(self, codec: Any, number: int, recorder: Recorder) -> None:
        self._codec, self._number, self._recorder = codec, number, recorder
        self._queue, self._receive = recorder._queue, codec.receive
        self._outgoing = codec.frames_to_send
        self.deadline_ns = codec.deadline_ns
        self._now_ns = 0

    def __getattr__(self, name: str) -> Any:
        if name == "waiting_key":  # of a codec that lets frames be passed over in an overload; here none may be
            raise AttributeError(name)
        return getattr(self._codec, name)

    @property
    def state(self) -> str:
        """The codec's state: asked for after every frame, so not by way of `__getattr__`."""
        return cast(str, self._codec.state)

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Note and pass on a frame."""
        self._now_ns = now_ns
        # `Recorder.note` written out: a call less for each frame.
        if len(self._queue) < MAX_QUEUED and not self._recorder._full:
            self._queue.append((RECEIVED, self._number, now_ns, frame))
        else:
            self._recorder.lost += 1
        self._receive(frame, now_ns)

    def connected(self, now_ns: int) -> None:
        """Note and pass on that the socket is open."""
        self._now_ns = now_ns
        self._recorder.note(CONNECTED, self._number, now_ns)
        self._codec.connected(now_ns)

    def disconnected(self, now_ns: int, reason: str) -> None:
        """Note and pass on that the socket is gone."""
        self._now_ns = now_ns
        self._recorder.note(DISCONNECTED, self._number, now_ns, reason.encode())
        self._codec.disconnected(now_ns, reason)

    def timer(self, now_ns: int) -> None:
        """Note and pass on that a deadline has passed."""
        self._now_ns = now_ns
        self._recorder.note(TIMER, self._number, now_ns)
        self._codec.timer(now_ns)

    def answered(self, tag: str, status: int, body: bytes, now_ns: int) -> None:
        """Note and pass on the answer to an HTTP request."""
        self._now_ns = now_ns
        self._recorder.note(ANSWERED, self._number, now_ns, msgspec.msgpack.encode((tag, status, body)))
        self._codec.answered(tag, status, body, now_ns)

    def frames_to_send(self) -> list[bytes]:
        """Note and return what the codec sends: a replay compares it with what its own codec would send."""
        frames = self._outgoing()
        for frame in frames:
            self._recorder.note(SENT, self._number, self._now_ns, frame)
        return cast(list[bytes], frames)


class RecordedCodecs:
    """The codecs of one feed, by number, and how each was made: what a replay needs to make them again."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._made: list[dict[str, Any]] = []

    def codec(self, codec: Codec, url: str, arguments: dict[str, Any]) -> Codec:
        """Return `codec`, made by `registry.make_codec(sink=..., **arguments)`, with its inputs recorded."""
        self._made.append({"url": url, "codec": arguments})
        # A codec by its methods and, through `__getattr__`, its attributes, which the checker cannot see.
        return cast(Codec, RecordedCodec(codec, len(self._made) - 1, self._recorder))

    def begin(self, now_ns: int, **header: Any) -> None:
        """Note the start of a run, before anything reaches a codec."""
        self._recorder.note(START, 0, now_ns, encoded({**header, "connections": self._made}))


def encoded(value: Any) -> bytes:
    """Return a JSON payload."""
    return json.dumps(value, separators=(",", ":")).encode()


def _packed(entries: list[Entry]) -> bytes:
    pack = RECORD_HEAD.pack
    parts: list[bytes] = []
    for kind, connection, time_ns, payload in entries:
        parts.append(pack(len(payload), kind, connection, 0, time_ns))
        parts.append(payload)
    return b"".join(parts)
