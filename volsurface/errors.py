"""Every error this program raises on purpose.

    VolSurfaceError
        SettingsError        a setting, flag or preset that cannot be used
        ChainFileError       a chain file that cannot be read
        VenueError           an unknown venue, underlying or address
        RecordingError       a recording of raw frames that cannot be read or written
        HistoryError         a history folder that cannot be read or written
        TransportError       a service that does not answer, or answers nonsense
            SequenceGap      a stream's frame that does not follow the one before it
        ArbitrageError       a surface that fails its exact verification
        ServiceError         a service that cannot start: port in use, lock held, ...

Each message says what was found and what is allowed. On the command line it is printed as one sentence and the exit
code is 1; on the page it is shown where the value was entered.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class VolSurfaceError(Exception):
    """Parent of all errors raised on purpose; its text is meant for a user."""


class SettingsError(VolSurfaceError):
    """A setting, flag or preset file cannot be used."""


class ChainFileError(VolSurfaceError):
    """A chain file cannot be read, or lacks something needed."""


class VenueError(VolSurfaceError):
    """A venue, underlying or address is unknown or cannot be reached."""


class RecordingError(VolSurfaceError):
    """A recording cannot be read or written."""


class HistoryError(VolSurfaceError):
    """A history folder cannot be read or written."""


class TransportError(VolSurfaceError):
    """A service does not answer, or answers something that is not the protocol."""


class SequenceGap(TransportError):
    """A frame of a stream does not follow the one before it: a snapshot is needed."""


class ArbitrageError(VolSurfaceError):
    """A surface has arbitrage; the text names the expiry and the log-moneyness."""


class ServiceError(VolSurfaceError):
    """A service cannot start or go on: port in use, lock held, no rights."""


def unknown_name(kind: str, found: str, allowed: Iterable[str]) -> str:
    """Return the sentence for a name that does not exist, with the nearest one that does.

    >>> unknown_name("venue", "deribt", ["deribit", "okx"])
    "unknown venue 'deribt'; did you mean 'deribit'? Allowed: deribit, okx"
    """
    names = sorted(allowed)
    near = get_close_matches(found, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {found!r}{hint} Allowed: {', '.join(names)}"
