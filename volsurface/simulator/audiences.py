"""Who has subscribed what: one audience per channel, found by its option or by its scope."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from volsurface.simulator import deribit_frames as frames
from volsurface.simulator.deribit_protocol import Channel
from volsurface.simulator.deribit_session import Session
from volsurface.simulator.market import Option


@dataclass(slots=True, eq=False)
class Audience:
    """The subscribers of one channel."""

    channel: Channel
    sessions: list[Session] = field(default_factory=list)

    def publish(self, data: str) -> None:
        """Send `data` on this channel to all of them."""
        frame = frames.text_frame(frames.subscription(self.channel.name, data))
        for session in self.sessions:
            session.send_frame(frame)


class Audiences:
    """All channels somebody has subscribed."""

    def __init__(self) -> None:
        self._by_name: dict[str, Audience] = {}
        self._by_option: dict[tuple[str, Option], list[Audience]] = {}
        self._by_scope: dict[tuple[str, str], list[Audience]] = {}

    def of_option(self, topic: str, option: Option) -> list[Audience]:
        """Return who listens to `topic` of one option."""
        return self._by_option.get((topic, option), [])

    def of_scope(self, topic: str, *scopes: str) -> Iterator[Audience]:
        """Yield who listens to `topic` of any of `scopes` (currencies or index names)."""
        for scope in scopes:
            yield from self._by_scope.get((topic, scope), ())

    def add(self, session: Session, channel: Channel) -> None:
        """Add a subscriber; one that is there already stays as it is."""
        audience = self._by_name.get(channel.name)
        if audience is None:
            audience = self._by_name[channel.name] = Audience(channel)
            self._place(channel).append(audience)
        if session not in audience.sessions:
            audience.sessions.append(session)

    def remove(self, session: Session, name: str) -> Channel | None:
        """Remove a subscriber; return the channel it had, None when it was not one."""
        audience = self._by_name.get(name)
        if audience is None or session not in audience.sessions:
            return None
        audience.sessions.remove(session)
        if not audience.sessions:
            self._drop(audience)
        return audience.channel

    def close(self, options: Iterable[Option], topics: Iterable[str]) -> None:
        """End all channels of expired options."""
        for key in [(topic, option) for option in options for topic in topics]:
            for audience in self._by_option.get(key, [])[:]:
                for session in audience.sessions:
                    session.channels.discard(audience.channel.name)
                self._drop(audience)

    def _place(self, channel: Channel) -> list[Audience]:
        if channel.option is not None:
            return self._by_option.setdefault((channel.topic, channel.option), [])
        return self._by_scope.setdefault((channel.topic, channel.scope), [])

    def _drop(self, audience: Audience) -> None:
        channel = audience.channel
        del self._by_name[channel.name]
        place = self._place(channel)
        place.remove(audience)
        if not place and channel.option is not None:
            del self._by_option[channel.topic, channel.option]
