"""A scripted venue for codecs that list over REST: it answers GETs and calls until the codec is live."""

import json
from collections.abc import Callable
from typing import Any

from volsurface.venues.codec import Codec, HttpRequest

NOW = 1_790_133_840_000_000_000  # 23 September 2026, 03:24:00 UTC
NOW_MS = NOW // 1_000_000
MS, S = 1_000_000, 1_000_000_000
EXPIRY_MS = 1_790_323_200_000  # 25 September 2026, 08:00 UTC
EXPIRY = EXPIRY_MS * MS
LATER_MS = 1_798_185_600_000  # 25 December 2026, 08:00 UTC


def encoded(message: Any) -> bytes:
    """Return JSON as venues write it, without spaces."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


class RestScript:
    """A codec and a venue.

    http: answers a GET with (status, body). reply: answers a frame of the codec with any number of frames.
    requests, sent: all that was asked so far, with texts as they are and JSON decoded.
    """

    def __init__(
        self,
        codec: Codec,
        http: Callable[[HttpRequest], tuple[int, bytes]],
        reply: Callable[[Any], list[bytes]],
    ) -> None:
        self.codec = codec
        self.http = http
        self.reply = reply
        self.requests: list[HttpRequest] = []
        self.sent: list[Any] = []

    def frames(self) -> list[Any]:
        """Return the frames the codec wants sent, unanswered."""
        frames = [f if f == b"ping" else json.loads(f) for f in self.codec.frames_to_send()]
        self.sent += frames
        return frames

    def exchange(self, now_ns: int) -> list[Any]:
        """Answer until the codec asks for nothing more at `now_ns`; return its frames."""
        seen = []
        while True:
            requests, frames = self.codec.requests_to_make(), self.frames()
            if not requests and not frames:
                return seen
            for request in requests:
                self.requests.append(request)
                status, body = self.http(request)
                self.codec.answered(request.tag, status, body, now_ns)
            for frame in frames:
                for answer in self.reply(frame):
                    self.codec.receive(answer, now_ns)
            seen += frames

    def open(self, now_ns: int = NOW) -> "RestScript":
        """Connect and answer until the codec is live, moving time to its deadlines; return self."""
        self.codec.connected(now_ns)
        self.exchange(now_ns)
        while self.codec.state != "live":
            now_ns = self.codec.deadline_ns()
            self.codec.timer(now_ns)
            self.exchange(now_ns)
        return self

    def run_until(self, end_ns: int) -> list[Any]:
        """Call the timer at every deadline up to `end_ns`, answering; return the codec's frames."""
        seen = self.exchange(end_ns)
        while (due_ns := self.codec.deadline_ns()) is not None and due_ns <= end_ns:
            self.codec.timer(due_ns)
            seen += self.exchange(due_ns)
        return seen

    def receive(self, *frames: bytes, now_ns: int = NOW + S) -> None:
        """Give the codec frames."""
        for frame in frames:
            self.codec.receive(frame, now_ns)
