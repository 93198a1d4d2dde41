"""Subscribe and unsubscribe calls at a venue's pace, answered as a whole, channel by channel, or not at all."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from volsurface.venues.normalised import NS_PER_S
from volsurface.venues.pacing import Pace, Timers
from volsurface.venues.subscriptions import SUBSCRIBE, Subscriptions

ANSWER_S = 10  # a call not answered by then is made again
MAX_TRIES = 3  # so often a channel is asked for before its silence counts as a refusal


@dataclass(slots=True, eq=False)
class Call:
    """A call under way; `waiting` are its channels that are not answered yet."""

    operation: str
    waiting: dict[str, None]


class SubscriptionCalls:
    """The calls of one connection; what they are about is kept in `subscriptions`.

    send: queues the frame of a call, given (call id, operation, channels).
    timers: gets "pace" when the next call may be made, and ("answer", call id) when an answer is overdue.
    """

    def __init__(
        self, subscriptions: Subscriptions, timers: Timers, send: Callable[[int, str, list[str]], None]
    ) -> None:
        self._subscriptions = subscriptions
        self._timers = timers
        self._send = send
        self._pace = Pace(0, 1)
        self._calls: dict[int, Call] = {}
        self._last_id = 0
        self._parts: list[Sequence[str]] = []  # of refused calls, to be asked for in smaller ones
        self._unanswered: dict[str, int] = {}  # how often, by channel

    def reset(self, pace: Pace) -> None:
        """A new connection has no calls, and a pace of its own."""
        self._pace = pace
        self._calls.clear()
        self._parts.clear()
        self._unanswered.clear()
        self._subscriptions.reset()

    @property
    def complete(self) -> bool:
        """True when every wanted channel was asked for and answered."""
        return self._subscriptions.complete and not self._parts

    def make(self, now_ns: int) -> int:
        """Make the waiting calls that the pace allows; return how long the next one has to wait, 0 without one."""
        while self._parts or self._subscriptions.waiting:
            ready_ns = self._pace.ready_ns()
            if ready_ns > now_ns:
                self._timers.set(ready_ns, "pace")
                return ready_ns - now_ns
            if self._parts:
                operation, channels = SUBSCRIBE, self._subscriptions.still_asked(self._parts.pop(0))
            else:
                operation, channels = self._subscriptions.next_call()
            if channels:
                self._pace.spend(now_ns)
                self._last_id += 1
                self._calls[self._last_id] = Call(operation, dict.fromkeys(channels))
                self._timers.set(now_ns + ANSWER_S * NS_PER_S, "answer", self._last_id)
                self._send(self._last_id, operation, channels)
        return 0

    def penalise(self, until_ns: int) -> None:
        """Make no call before `until_ns`."""
        self._pace.penalise(until_ns)

    def get(self, call_id: int) -> Call | None:
        """Return a call under way."""
        return self._calls.get(call_id)

    def waiting_for(self, channel: str) -> int | None:
        """Return the id of the oldest call that waits for an answer about a channel: venues answer in order."""
        return next((call_id for call_id, call in self._calls.items() if channel in call.waiting), None)

    def answered(
        self, call_id: int, accepted: Iterable[str], refused: Iterable[str] = ()
    ) -> tuple[list[str], list[str]]:
        """Take an answer about some channels of a call; return those now confirmed, and those refused and still wanted."""
        call = self._calls.get(call_id)
        if call is None:
            return [], []
        told = [channel for channel in accepted if channel in call.waiting]
        lost = [channel for channel in refused if channel in call.waiting]
        for channel in (*told, *lost):
            call.waiting.pop(channel, None)
            self._unanswered.pop(channel, None)
        if not call.waiting:
            self.forget(call_id)
        if call.operation != SUBSCRIBE:
            return [], []
        lost = self._subscriptions.answered([*told, *lost], told)
        return [channel for channel in told if channel in self._subscriptions.confirmed], lost

    def forget(self, call_id: int) -> Call | None:
        """Expect no more answers to a call; return it."""
        self._timers.cancel("answer", call_id)
        return self._calls.pop(call_id, None)

    def halve(self, call_id: int) -> list[str]:
        """A call was refused without a word on which channel: ask for each half; return the channel it has come down to."""
        call = self.forget(call_id)
        if call is None or call.operation != SUBSCRIBE:
            return []
        channels = self._subscriptions.still_asked(call.waiting)
        if len(channels) <= 1:
            return self._subscriptions.give_up(channels)
        middle = len(channels) // 2
        self._parts += [channels[:middle], channels[middle:]]
        return []

    def repeat(self, call_id: int) -> None:
        """Make a call again: what was refused may be granted later."""
        call = self.forget(call_id)
        if call is not None and call.operation == SUBSCRIBE:
            self._subscriptions.ask_again(call.waiting)

    def overdue(self, call_id: int) -> tuple[int, list[str]]:
        """Ask again for what a call got no answer to; return how many channels that are, and those given up."""
        call = self._calls.pop(call_id, None)
        if call is None or call.operation != SUBSCRIBE:
            return 0, []
        channels = self._subscriptions.still_asked(call.waiting)
        hopeless = []
        for channel in channels:
            self._unanswered[channel] = self._unanswered.get(channel, 0) + 1
            if self._unanswered[channel] >= MAX_TRIES:
                hopeless.append(channel)
        self._subscriptions.give_up(hopeless)
        self._subscriptions.ask_again(channels)
        return len(channels), hopeless
