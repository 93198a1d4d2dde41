"""When a codec may send the next call, and what it wants to be woken for: rate limits and timers as plain values."""

import heapq


class Pace:
    """A venue's rate limit as a token bucket: `burst` calls at once, then one per `interval_ns`.

    Kept in integers of time (the virtual scheduling form of the bucket), so that it drifts by nothing and a replay
    decides the same.
    """

    def __init__(self, interval_ns: int, burst: int) -> None:
        self._interval_ns = interval_ns
        self._tolerance_ns = (burst - 1) * interval_ns
        self._full_ns = 0  # when the bucket will be full again

    def ready_ns(self) -> int:
        """Return the earliest time of the next call; a time in the past means now."""
        return self._full_ns - self._tolerance_ns

    def spend(self, now_ns: int, calls: int = 1) -> None:
        """Count a call made at `now_ns`, one that weighs as much as `calls`."""
        self._full_ns = max(self._full_ns, now_ns) + calls * self._interval_ns

    def penalise(self, until_ns: int) -> None:
        """Empty the bucket: no call before `until_ns`, and no burst then."""
        self._full_ns = max(self._full_ns, until_ns + self._tolerance_ns)


class Timers:
    """What is due when: (kind, key) pairs in time order; setting a pair again moves it."""

    def __init__(self) -> None:
        self._due_ns: dict[tuple[str, object], int] = {}
        self._heap: list[tuple[int, int, tuple[str, object]]] = []  # the first one is never out of date
        self._count = 0  # pairs due at one time come in the order of setting, and keys are never compared

    def set(self, due_ns: int, kind: str, key: object = None) -> None:
        """Wake for (kind, key) at `due_ns`, and not at the time set before."""
        pair = kind, key
        if self._due_ns.get(pair) == due_ns:
            return
        self._due_ns[pair] = due_ns
        self._count += 1
        heapq.heappush(self._heap, (due_ns, self._count, pair))
        self._prune()

    def cancel(self, kind: str, key: object = None) -> None:
        """Do not wake for (kind, key)."""
        if self._due_ns.pop((kind, key), None) is not None:
            self._prune()

    def clear(self) -> None:
        """Forget everything that was set."""
        self._due_ns.clear()
        self._heap.clear()

    def next_ns(self) -> int | None:
        """Return when the next pair is due, or None; asked for after every frame, so it only looks."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now_ns: int) -> tuple[str, object] | None:
        """Return one pair that is due at `now_ns` and forget it, or None when none is."""
        if not self._heap or self._heap[0][0] > now_ns:
            return None
        pair = heapq.heappop(self._heap)[2]
        del self._due_ns[pair]
        self._prune()
        return pair

    def _prune(self) -> None:
        heap = self._heap
        while heap and self._due_ns.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)  # cancelled or moved
