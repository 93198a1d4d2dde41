"""Which channels of one connection are wanted, asked for and confirmed, and the next subscribe or unsubscribe call."""

from collections.abc import Iterable, Sequence

SUBSCRIBE, UNSUBSCRIBE = "subscribe", "unsubscribe"


class Subscriptions:
    """The channels of one connection, by whatever text the codec uses for each.

    Ordered dictionaries stand in for sets, so that every run sends the same calls.

    per_call: how many channels one call may name.
    """

    def __init__(self, per_call: int) -> None:
        self._per_call = per_call
        self.confirmed: dict[str, None] = {}
        self._to_subscribe: dict[str, None] = {}
        self._to_unsubscribe: dict[str, None] = {}
        self._asked: dict[str, None] = {}  # sent, not answered

    def reset(self) -> None:
        """A new connection has no channels."""
        for channels in (self.confirmed, self._to_subscribe, self._to_unsubscribe, self._asked):
            channels.clear()

    @property
    def complete(self) -> bool:
        """True when every wanted channel was asked for and answered."""
        return not self._to_subscribe and not self._asked

    def want(self, channel: str) -> None:
        """Subscribe to a channel unless that is done or under way."""
        if channel not in self.confirmed and channel not in self._asked:
            self._to_subscribe[channel] = None

    def leave(self, channel: str) -> None:
        """Unsubscribe from a channel, or do not subscribe after all."""
        self._to_subscribe.pop(channel, None)
        if channel in self.confirmed or channel in self._asked:
            self._to_unsubscribe[channel] = None

    def renew(self, channel: str) -> None:
        """Unsubscribe and subscribe: the only way to a new snapshot, since subscribing twice sends none."""
        self._to_unsubscribe[channel] = None
        self._to_subscribe[channel] = None

    def next_call(self) -> tuple[str, list[str]]:
        """Return the next (operation, channels) to send, which must be `waiting`; unsubscribing comes first, so that renewing works."""
        if self._to_unsubscribe:
            channels = self._take(self._to_unsubscribe)
            for channel in channels:
                self.confirmed.pop(channel, None)
                self._asked.pop(channel, None)
            return UNSUBSCRIBE, channels
        channels = self._take(self._to_subscribe)
        self._asked.update(dict.fromkeys(channels))
        return SUBSCRIBE, channels

    @property
    def waiting(self) -> bool:
        """True when there is a call to send."""
        return bool(self._to_unsubscribe or self._to_subscribe)

    def answered(self, asked: Sequence[str], confirmed: Iterable[str]) -> list[str]:
        """Take the answer to a subscribe call; return what was asked and not confirmed."""
        accepted = frozenset(confirmed)
        refused = []
        for channel in asked:
            if self._asked.pop(channel, True) is True:
                continue  # left again since it was asked for
            if channel in accepted:
                self.confirmed[channel] = None
            else:
                refused.append(channel)
        return refused

    def still_asked(self, channels: Iterable[str]) -> list[str]:
        """Return those that were asked for and neither answered nor left since."""
        return [channel for channel in channels if channel in self._asked]

    def ask_again(self, channels: Iterable[str]) -> None:
        """A subscribe call failed or stayed unanswered: queue its channels again."""
        for channel in channels:
            if self._asked.pop(channel, True) is None:
                self._to_subscribe[channel] = None

    def give_up(self, channels: Iterable[str]) -> list[str]:
        """A subscribe call was refused for good; return those of its channels that were still wanted."""
        return [channel for channel in channels if self._asked.pop(channel, True) is None]

    def _take(self, channels: dict[str, None]) -> list[str]:
        """Remove and return the first channels, as many as fit one call."""
        taken = list(channels)[: self._per_call]
        for channel in taken:
            del channels[channel]
        return taken
