"""Options taking turns: those whose quotes changed go sooner, and none is forgotten."""

from collections.abc import Iterable

from volsurface.simulator.market import Option

URGENT_SHARE = 0.8  # of the turns, at most, to instruments whose quotes changed


class Rotation:
    """A set of options with an order of turns."""

    def __init__(self) -> None:
        self._members: dict[Option, None] = {}
        self._order: list[Option] = []
        self._next = 0
        self._urgent: dict[Option, None] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, option: Option) -> bool:
        return option in self._members

    def become(self, options: Iterable[Option]) -> None:
        """Let exactly `options` take part; those that did already keep their place."""
        members = dict.fromkeys(options)
        if members.keys() == self._members.keys():
            return
        self._members = members
        self._urgent = {option: None for option in self._urgent if option in members}
        self._order = []

    def hurry(self, options: Iterable[Option]) -> None:
        """Put the members among `options` before the others."""
        for option in options:
            if option in self._members:
                self._urgent[option] = None

    def take(self, count: int) -> list[Option]:
        """Return the next `count` options, each once; all of them when they are fewer."""
        if not self._order:
            self._order = list(self._members)
            self._next = 0
        count = min(count, len(self._order))
        chosen: dict[Option, None] = {}
        for option in list(self._urgent)[: round(count * URGENT_SHARE)] if count > 1 else list(self._urgent)[:count]:
            del self._urgent[option]
            chosen[option] = None
        while len(chosen) < count:
            option = self._order[self._next]
            self._next = (self._next + 1) % len(self._order)
            self._urgent.pop(option, None)
            chosen[option] = None
        return list(chosen)
