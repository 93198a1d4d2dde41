"""The listings a codec reads over REST: which are due, page after page, and what is asked again after a failure."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from volsurface.venues.codec import HttpRequest
from volsurface.venues.normalised import NS_PER_S

MAX_PAGES = 100  # of one listing; a venue that always names another page must not be followed for ever
LONGEST_PAUSE_S = 60


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer holds.

    entries: undecoded, so that a bad one is refused alone. next_cursor: of the next page, empty at the end.
    refusal: what the venue says instead of a listing. passing: the same request may succeed later.
    """

    entries: list[msgspec.Raw]
    next_cursor: str = ""
    refusal: str = ""
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one listing: its entries, or why there are none and when (0: never) it is asked for again."""

    name: str
    entries: list[msgspec.Raw]
    failure: str = ""
    retry_ns: int = 0


@dataclass(slots=True)
class _UnderWay:
    name: str
    entries: list[msgspec.Raw]
    pages: int = 0


class RestListing:
    """Listings by name (a venue's word for a set of options), one request under way for each.

    url: the address of a page, from the listing's name and a cursor. read: an answer's page; may raise `malformed`.
    blocked_s: pause the venue documents after a status, where that is longer than our own.
    """

    def __init__(
        self,
        url: Callable[[str, str], str],
        read: Callable[[bytes], Page],
        malformed: tuple[type[Exception], ...],
        blocked_s: dict[int, int] | None = None,
    ) -> None:
        self._url = url
        self._read = read
        self._malformed = malformed
        self._blocked_s = blocked_s or {}
        self._under_way: dict[str, _UnderWay] = {}  # by tag
        self._out: list[HttpRequest] = []
        self._asked = 0
        self._setbacks: dict[str, int] = {}  # failures in a row, by name

    def forget(self) -> None:
        """Expect no answer any more."""
        self._under_way.clear()
        self._out.clear()

    def ask(self, name: str) -> str:
        """Ask for a listing from its first page, whatever was under way for it; return the request's tag."""
        for tag, under_way in list(self._under_way.items()):
            if under_way.name == name:
                self._drop(tag)
        return self._send(_UnderWay(name, []), "")

    def requests(self) -> list[HttpRequest]:
        """Return the requests queued since the last call."""
        out, self._out = self._out, []
        return out

    def answered(self, tag: str, status: int, body: bytes, now_ns: int) -> Answer | str | None:
        """Take an answer: a whole listing or its failure, the tag of the next page's request, or None for no news."""
        under_way = self._under_way.pop(tag, None)
        if under_way is None:
            return None
        if status != 200:
            words = body[:120].decode(errors="replace")
            reason = f"HTTP {status}: {words}" if status else f"not reached: {words}"
            return self._failed(under_way, reason, True, now_ns, self._blocked_s.get(status, 0))
        try:
            page = self._read(body)
        except self._malformed as error:
            return self._failed(under_way, f"{error}: {body[:80].decode(errors='replace')}", True, now_ns)
        if page.refusal:
            return self._failed(under_way, page.refusal, page.passing, now_ns)
        under_way.entries += page.entries
        under_way.pages += 1
        if page.next_cursor and under_way.pages < MAX_PAGES:
            return self._send(under_way, page.next_cursor)
        self._setbacks.pop(under_way.name, None)
        if page.next_cursor:
            return self._failed(under_way, f"no end after {MAX_PAGES} pages", True, now_ns)
        return Answer(under_way.name, under_way.entries)

    def unanswered(self, tag: str, seconds: int, now_ns: int) -> Answer | None:
        """A request has waited too long."""
        under_way = self._under_way.get(tag)
        if under_way is None:
            return None
        self._drop(tag)
        return self._failed(under_way, f"no answer in {seconds} s", True, now_ns)

    def _send(self, under_way: _UnderWay, cursor: str) -> str:
        self._asked += 1
        tag = f"{under_way.name} {self._asked}"
        self._under_way[tag] = under_way
        self._out.append(HttpRequest(tag, self._url(under_way.name, cursor)))
        return tag

    def _drop(self, tag: str) -> None:
        del self._under_way[tag]
        self._out = [request for request in self._out if request.tag != tag]

    def _failed(self, under_way: _UnderWay, reason: str, passing: bool, now_ns: int, blocked_s: int = 0) -> Answer:
        setbacks = self._setbacks.get(under_way.name, 0)
        self._setbacks[under_way.name] = min(setbacks + 1, 10)
        pause_s = max(min(LONGEST_PAUSE_S, 1 << setbacks), blocked_s)
        return Answer(under_way.name, [], reason, now_ns + pause_s * NS_PER_S if passing else 0)
