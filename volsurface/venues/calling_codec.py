"""The codec of a venue that is asked by numbered calls over its websocket, but for the venue's own words.

It counts, keeps the calls that wait for an answer, finds each frame's route without parsing it, gives up a socket that
is silent, and lets what is due happen. Which channels there are and what is asked when is the venue's own.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from volsurface.errors import VenueError
from volsurface.venues.codec import Sink
from volsurface.venues.normalised import EMPTY, NS_PER_S, NULL
from volsurface.venues.session_codec import MALFORMED, SessionCodec

SILENCE_S = 35  # something comes every few seconds: a socket this quiet is dead, whatever the kernel thinks of it
ANSWER_S = 10  # a call not answered by then is made again


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call that waits for its answer."""

    method: str
    params: Any


class CallingCodec(SessionCodec):
    """One connection; see `venues.codec.Codec` for the contract.

    A venue's class names itself and `channel_mark`, what stands before a channel's name in a frame.
    """

    channel_mark: bytes

    def __init__(self, underlyings: Sequence[str], sink: Sink) -> None:
        super().__init__(sink)
        self._coins = tuple(dict.fromkeys(name.upper() for name in underlyings))
        if not self._coins:
            raise VenueError(f"{self.venue}: no underlying asked for")
        self._mark_size = len(self.channel_mark)
        self._due["silence"] = self._silence_due
        self._calls: dict[int, Call] = {}
        self._last_id = 0

    # -- what each venue does in its own way --------------------------------------------------------------------------

    @abstractmethod
    def _receive_other(self, frame: bytes, now_ns: int) -> None:
        """Take a frame whose route was not found; may raise what `MALFORMED` names."""

    @abstractmethod
    def _ask_again(self, call: Call) -> None:
        """Queue a call that failed or stayed unanswered."""

    # -- the connection -----------------------------------------------------------------------------------------------

    def connected(self, now_ns: int) -> None:
        """Start over: the listing, and the channels of options known from before."""
        self._calls.clear()
        super().connected(now_ns)
        self._timers.set(now_ns + SILENCE_S * NS_PER_S, "silence")

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Take one frame. The channel's name is found without parsing; then one typed decoder reads the whole frame."""
        self.messages += 1
        self.last_receive_ns = now_ns
        try:
            self._take(frame, now_ns)
        except MALFORMED as error:
            if EMPTY not in frame:
                self.reject(frame, str(error), now_ns)
                return
            try:
                self._take(frame.replace(EMPTY, NULL), now_ns)
            except MALFORMED:
                self.reject(frame, str(error), now_ns)

    def _take(self, frame: bytes, now_ns: int) -> None:
        start = frame.find(self.channel_mark)
        if start >= 0:
            start += self._mark_size
            route = self._routes.get(frame[start : frame.find(b'"', start)])
            if route is not None:
                route(frame, now_ns)
                return
        self._receive_other(frame, now_ns)

    # -- calls, and what is due ---------------------------------------------------------------------------------------

    def _call(self, method: str, params: Any, now_ns: int) -> None:
        """Queue a call; None for one without parameters."""
        self._last_id += 1
        self._calls[self._last_id] = Call(method, params)
        self._timers.set(now_ns + ANSWER_S * NS_PER_S, "answer", self._last_id)
        message = {"method": method, "id": self._last_id}
        self._out.append(msgspec.json.encode(message if params is None else message | {"params": params}))

    def _forget_call(self, call_id: Any) -> Call | None:
        """Return the call of that number, which has been answered; None when there is none."""
        if not isinstance(call_id, int):
            return None
        self._timers.cancel("answer", call_id)
        return self._calls.pop(call_id, None)

    def _answer_due(self, call_id: int, now_ns: int) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None:
            text = f"{self.venue}: no answer to {call.method} in {ANSWER_S} s"
            self._reports.event("stale", now_ns, "warning", text)
            self._ask_again(call)

    def _silence_due(self, _key: Any, now_ns: int) -> None:
        due_ns = self.last_receive_ns + SILENCE_S * NS_PER_S
        if now_ns < due_ns:
            self._timers.set(due_ns, "silence")
        else:
            self.hang_up = f"nothing received for {SILENCE_S} s"

    # -- what is not understood ---------------------------------------------------------------------------------------

    def bad_entry(self, raw: bytes, why: str, now_ns: int) -> None:
        """Count one entry of a batch that was not understood; the others were taken."""
        self.reject(raw, why, now_ns)
