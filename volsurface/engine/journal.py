"""What an engine was given and what it made of it, step by step: written by a live engine, compared by a replayed one.

An engine is a function of its inputs: which rows each step saw, the market's time then, the settings, and (recorded here
for comparison) the digest of what it published. Which rows a step saw is said by the feed's version and event counter,
not by the rows: the recorded frames make them again.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any, NamedTuple, Protocol

from volsurface.clock import Clock
from volsurface.engine.stepping import Inputs
from volsurface.io.recording import PUBLISHED, SETTINGS, START, STEP, Recorder, encoded
from volsurface.io.transport.puller import FeedPuller

_STEP = Struct("<QQQq")


class Step(NamedTuple):
    """What one step saw: the feed's run, up to which version and event it had been pulled, the market's time, and which
    venues had been silent too long by then."""

    epoch: int
    version: int
    event_seq: int
    now_ns: int
    silent: tuple[str, ...]

    def encode(self, underlying: str) -> bytes:
        """Return it as a payload."""
        return _STEP.pack(*self[:4]) + " ".join((underlying, *self.silent)).encode()

    @staticmethod
    def decode(payload: bytes) -> tuple[str, "Step"]:
        """Return underlying and step of a payload."""
        underlying, *silent = payload[_STEP.size :].decode().split(" ")
        epoch, version, event_seq, now_ns = _STEP.unpack_from(payload)
        return underlying, Step(epoch, version, event_seq, now_ns, tuple(silent))


class Journal(Protocol):
    """Who wants to know what an engine does; called in the order of its doing."""

    def started(self, version: int, values: Mapping[str, Any]) -> None:
        """The engine begins with these settings."""

    def step(self, underlying: str, step: Step) -> None:
        """A step of an underlying begins."""

    def settings(self, version: int, values: Mapping[str, Any], who: str) -> None:
        """These settings changed after the last step."""

    def published(self, underlying: str, digest: str) -> None:
        """The step has published a surface."""


def step_of(puller: FeedPuller, inputs: Inputs) -> Step:
    """Return what a step that begins now sees."""
    return Step(puller.epoch, puller.cursor, puller.event_cursor, inputs.now_ns, inputs.options.silent_venues)


class RecordedJournal:
    """Writes the journal into the engine's stream of a recording."""

    def __init__(self, recorder: Recorder, clock: Clock, run: str) -> None:
        self._recorder, self._clock, self._run = recorder, clock, run

    def started(self, version: int, values: Mapping[str, Any]) -> None:
        """Note the settings at the start."""
        self._note(START, encoded({"run": self._run, "version": version, "values": values}))

    def step(self, underlying: str, step: Step) -> None:
        """Note a step's inputs."""
        self._note(STEP, step.encode(underlying))

    def settings(self, version: int, values: Mapping[str, Any], who: str) -> None:
        """Note a change of settings."""
        self._note(SETTINGS, encoded({"version": version, "values": values, "who": who}))

    def published(self, underlying: str, digest: str) -> None:
        """Note what was published."""
        self._note(PUBLISHED, f"{underlying} {digest}".encode())

    def close(self) -> None:
        """Write everything down."""
        self._recorder.close(self._clock.now_ns())

    def _note(self, kind: int, payload: bytes) -> None:
        self._recorder.note(kind, 0, self._clock.now_ns(), payload)
