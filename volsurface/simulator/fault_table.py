"""The faults a simulated venue can have, by name: what each does, who commits it, and what a client must do about it.

place "link": any frames, spoiled on the way by `link`. "session": something only the venue's own protocol can do,
through `VenueSession.inject`. "venue": something that happens to all clients of a venue at once.
"""

from dataclasses import dataclass

from volsurface.errors import SettingsError, unknown_name


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its place, how long it lasts unless told otherwise, a sentence, and whether it concerns one book."""

    place: str
    seconds: float
    help: str
    one_book: bool = False


FAULTS = {
    "gap": Fault("link", 0.0, "one change of one book is lost", one_book=True),
    "duplicate": Fault("link", 0.0, "one change of one book arrives twice", one_book=True),
    "out_of_order": Fault("link", 0.0, "two changes of one book arrive in the wrong order", one_book=True),
    "snapshot": Fault("session", 0.0, "one book is sent as a whole in the middle of its changes", one_book=True),
    "sequence_reset": Fault(
        "session", 0.0, "a book's numbering starts over, as after a restart of the venue", one_book=True
    ),
    "silent_drop": Fault(
        "session",
        0.0,
        "the connection is lost, and the next one's subscriptions lack a channel, told only by its absence",
    ),
    "heartbeat": Fault("session", 0.0, "the venue takes the client for dead and closes with its own code"),
    "heartbeat_storm": Fault("session", 2.0, "the venue asks again and again whether the client lives"),
    "slow_reader": Fault("link", 0.0, "the venue closes on a client that does not read fast enough"),
    "garbage": Fault("link", 0.0, "frames that are no messages of the venue"),
    "truncated": Fault("link", 0.0, "one change of one book arrives cut off in the middle", one_book=True),
    "scientific": Fault("link", 2.0, "numbers are written in scientific notation for a while"),
    "unit_trap": Fault(
        "session", 0.0, "a ticker in the venue's most misleading notation: missing quotes, clamped vols"
    ),
    "lag": Fault("link", 1.0, "frames are held up for a while and then arrive all at once"),
    "silence": Fault("venue", 2.0, "the venue sends nothing for a while, not even heartbeats"),
    "listing": Fault("venue", 0.0, "a new strike is listed"),
    "roll": Fault("venue", 0.0, "the nearest expiry ends and the next is listed, as at 08:00 UTC"),
    "maintenance": Fault("session", 2.0, "the venue announces maintenance and cuts the connection"),
    "cut": Fault("session", 0.0, "the venue announces, where it does that, and makes a forced cut of the connection"),
    "half_open": Fault(
        "link", 0.0, "the connection is dead and neither side is told; it stays so until the client goes"
    ),
    "drop": Fault("link", 0.0, "the connection is lost without a close frame"),
    "outage": Fault("venue", 3.0, "all connections of the venue are lost and none can be made for a while"),
}


def fault_named(name: str) -> Fault:
    """Return a fault; raises SettingsError naming those that exist."""
    if name not in FAULTS:
        raise SettingsError(unknown_name("fault", name, FAULTS))
    return FAULTS[name]
