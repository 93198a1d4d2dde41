"""Codecs against a simulated venue in memory, under a simulated clock: what a socket and a REST client would do.

Nothing here knows a venue. A lost connection is made again a quarter of a second later, as `io.connection` does it at
first; requests are answered at the next step. The conformance kit and `bench ingest` are built on it.
"""

import importlib
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from volsurface.simulator.link import Link
from volsurface.simulator.venue_host import VenueHost
from volsurface.venues.codec import Codec, HttpRequest, Sink
from volsurface.venues.registry import default_url, make_codec, shard_url

RECONNECT_NS = 250_000_000
REST_URL = "http://simulated"


class Wire:
    """One codec and its way to the venue.

    on_frame, on_answer: see every frame, and every answer to a GET with its target, just before the codec does.
    sent: how many frames the codec has sent.
    """

    def __init__(self, codec: Codec, host: VenueHost, path: str) -> None:
        self.codec, self._host, self._path = codec, host, path
        self.link: Link | None = None
        self.on_frame: Callable[[bytes], object] | None = None
        self.on_answer: Callable[[str, bytes], object] | None = None
        self.sent = 0
        self._dial_ns = 0
        self._requests: list[HttpRequest] = []

    def step(self, now_ns: int) -> None:
        """Do what is due: dial, deliver, let timers run, hang up."""
        codec = self.codec
        if self.link is None and not self._dial(now_ns):
            return
        requests, self._requests = self._requests, []
        for request in requests:
            target = request.url.removeprefix(REST_URL)
            status, body = self._host.rest(target, now_ns)
            if self.on_answer is not None:
                self.on_answer(target, body)
            codec.answered(request.tag, status, body, now_ns)
        self.deliver(now_ns)
        due_ns = codec.deadline_ns()
        if due_ns is not None and due_ns <= now_ns:
            codec.timer(now_ns)
        self._exchange(now_ns)
        link = self.link
        assert link is not None
        if codec.hang_up:
            self._lost(now_ns, codec.hang_up)
        elif link.close is not None and link.arrival_ns() is None:
            self._lost(now_ns, f"closed by the venue: {link.close[0]} {link.close[1]}")

    def deliver(self, now_ns: int) -> None:
        """Hand the codec every frame that has arrived."""
        link = self.link
        if link is not None:
            for frame in link.frames_due(now_ns):
                if self.on_frame is not None:
                    self.on_frame(frame)
                self.codec.receive(frame, now_ns)
            self._exchange(now_ns)

    def _dial(self, now_ns: int) -> bool:
        if now_ns < self._dial_ns:
            return False
        self.link = self._host.join(now_ns, self._path)
        if self.link is None:
            self._dial_ns = now_ns + RECONNECT_NS
            self.codec.disconnected(now_ns, "refused")
            return False
        self.codec.connected(now_ns)
        return True

    def _exchange(self, now_ns: int) -> None:
        link = self.link
        assert link is not None
        for frame in self.codec.frames_to_send():
            self.sent += 1
            link.receive(frame, now_ns)
        self._requests += self.codec.requests_to_make()

    def _lost(self, now_ns: int, reason: str) -> None:
        assert self.link is not None
        self._host.leave(self.link)
        self.link = None
        self._requests = []
        self._dial_ns = now_ns + RECONNECT_NS
        self.codec.disconnected(now_ns, reason)


def connections_for(venue: str, n_instruments: int, channels: Sequence[str]) -> int:
    """Return how many connections the venue's codec needs for so many instruments."""
    count: int = importlib.import_module(f"volsurface.venues.{venue}").connections(n_instruments, channels)
    return count


def wires_to(host: VenueHost, underlyings: Sequence[str], channels: Sequence[str], sink: Sink) -> list[Wire]:
    """Return as many codecs as the venue's limits require for what the host lists, each with its way there."""
    venue = host.market.venue.venue
    count = connections_for(venue, len(host.market.options), channels)
    shards = [(i, count) for i in range(count)]
    return [
        Wire(
            make_codec(venue, underlyings, channels, sink, REST_URL, shard),
            host,
            urlsplit(shard_url(venue, default_url(venue), shard)).path,
        )
        for shard in shards
    ]
