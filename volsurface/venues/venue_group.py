"""The connections of one venue as one venue: their counts added up."""

from collections.abc import Sequence

from volsurface.venues.codec import Codec

_FROM_WORST = ("connecting", "listing", "subscribing", "live")


class VenueGroup:
    """One venue's record in every reply of the feed (`market.row_table.VenueCounts`).

    venue: its name. codecs: one per connection; none when the venue could not be started at all.
    """

    def __init__(self, venue: str, codecs: Sequence[Codec]) -> None:
        self.venue = venue
        self.codecs = codecs

    @property
    def state(self) -> str:
        """The worst state of the connections; "down" when all are, else one that is lost counts as connecting."""
        states = {codec.state for codec in self.codecs}
        if states <= {"down"}:
            return "down"
        if "down" in states:
            return "connecting"
        return next(state for state in _FROM_WORST if state in states)

    @property
    def messages(self) -> int:
        """Frames received."""
        return sum(codec.messages for codec in self.codecs)

    @property
    def superseded(self) -> int:
        """Frames never decoded because newer ones of their kind had come; only a patient codec has any."""
        return sum(getattr(codec, "superseded", 0) for codec in self.codecs)

    @property
    def rejected(self) -> int:
        """Frames or entries not understood."""
        return sum(codec.rejected for codec in self.codecs)

    @property
    def gaps(self) -> int:
        """Books dropped because a change was missing."""
        return sum(codec.gaps for codec in self.codecs)

    @property
    def reconnects(self) -> int:
        """Connections made again."""
        return sum(codec.reconnects for codec in self.codecs)

    @property
    def subscribed(self) -> int:
        """Channels confirmed."""
        return sum(codec.subscribed for codec in self.codecs)

    @property
    def listed(self) -> int:
        """Instruments followed."""
        return sum(codec.listed for codec in self.codecs)

    @property
    def last_receive_ns(self) -> int:
        """When the last frame came; 0 before the first."""
        return max((codec.last_receive_ns for codec in self.codecs), default=0)

    @property
    def last_venue_ns(self) -> int:
        """The newest venue time seen."""
        return max((codec.last_venue_ns for codec in self.codecs), default=0)
