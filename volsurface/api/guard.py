"""Who may ask, from which page, and how often: the page's own login, or a token; nobody may change anything.

Tokens stand in the TOML file that the environment variable VOLSURFACE_API_TOKENS names, one table per holder:

    [alice]
    token = "at least 16 characters"
    requests_per_s = 10     # optional
    streams = 5             # optional
"""

import hmac
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from volsurface.api.schema import REQUESTS_PER_S, STREAMS
from volsurface.dashboard.access import is_loopback
from volsurface.errors import SettingsError, unknown_name

VARIABLE = "VOLSURFACE_API_TOKENS"
LEAST_TOKEN = 16
_KEYS = ("token", "requests_per_s", "streams")


@dataclass(slots=True)
class Caller:
    """Who asks, and what is left of the allowance: a bucket of two seconds' requests, filled as time goes by."""

    name: str
    requests_per_s: float = REQUESTS_PER_S
    streams: int = STREAMS
    open_streams: int = 0
    _left: float = -1.0
    _seen_s: float = 0.0

    def spend(self, now_s: float) -> float:
        """Take one request at a time of a monotonic clock; return 0, or the seconds to wait when there is none left."""
        full = max(1.0, 2 * self.requests_per_s)
        self._left = full if self._left < 0 else min(full, self._left + (now_s - self._seen_s) * self.requests_per_s)
        self._seen_s = now_s
        if self._left < 1.0:
            return (1.0 - self._left) / self.requests_per_s
        self._left -= 1.0
        return 0.0


def read_tokens(path: str | None) -> dict[str, Caller]:
    """Return the holders by token; none without a file. Raises SettingsError for a file that cannot be used."""
    if not path:
        return {}
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{VARIABLE} names {path}, which cannot be read: {error}") from error
    callers: dict[str, Caller] = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {name} is a table like [{name}], found {table!r}")
        for key in table:
            if key not in _KEYS:
                raise SettingsError(f"{path}: {name}: {unknown_name('key', key, _KEYS)}")
        token = table.get("token")
        if not isinstance(token, str) or len(token) < LEAST_TOKEN or token in callers:
            raise SettingsError(f"{path}: {name}.token is a text of at least {LEAST_TOKEN} characters, its own")
        rate, streams = table.get("requests_per_s", REQUESTS_PER_S), table.get("streams", STREAMS)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1e6:
            raise SettingsError(f"{path}: {name}.requests_per_s is a number above 0, found {rate!r}")
        if isinstance(streams, bool) or not isinstance(streams, int) or streams < 0:
            raise SettingsError(f"{path}: {name}.streams is a whole number from 0 on, found {streams!r}")
        callers[token] = Caller(name, float(rate), streams)
    return callers


class Guard:
    """Callers by token, and by name those whom the page knows; one per process."""

    def __init__(self, tokens: Mapping[str, Caller]) -> None:
        self._tokens = dict(tokens)
        self._named: dict[str, Caller] = {}

    @staticmethod
    def from_environment() -> "Guard":
        """Return the guard of this process; raises SettingsError when the token file cannot be used."""
        return Guard(read_tokens(os.environ.get(VARIABLE)))

    def bearer(self, header: str) -> Caller | None:
        """Return the holder of an Authorization header's token, or None. Every token is compared, in constant time."""
        kind, _, given = header.partition(" ")
        found = None
        for token, caller in self._tokens.items():
            if hmac.compare_digest(token.encode(), given.strip().encode()):
                found = caller
        return found if kind.lower() == "bearer" else None

    def named(self, name: str) -> Caller:
        """Return whom the page knows by this name."""
        return self._named.setdefault(name, Caller(name))


def origin_refusal(origin: str | None, host: str, allowed: Collection[str]) -> str | None:
    """Return why a page of another site may not ask, or None. `allowed`: what --allow-websocket-origin lists.

    A page that this server has made has the server's own host as origin. That host itself may be a name that another site
    has given to this machine's address, so that it counts only when it is listed or a loopback name.
    """
    if origin is None:
        return None
    place = urlsplit(origin).netloc.lower()
    if place and (_listed(place, allowed) or (place == host.lower() and is_this_machine(place))):
        return None
    return f"pages of {origin} may not read this; allow them with --allow-websocket-origin {place or 'HOST:PORT'}"


def host_refusal(host: str, allowed: Collection[str]) -> str | None:
    """Return why a request without login or token is refused: it was sent to a name that is not this machine's."""
    if is_this_machine(host) or _listed(host.lower(), allowed):
        return None
    return (
        f"without a login or a token, requests are answered on this machine's own names only, found Host {host!r}; "
        f"allow it with --allow-websocket-origin {host}"
    )


def is_this_machine(host: str) -> bool:
    """Tell whether a Host header is a name or an address of loopback."""
    name = (urlsplit(f"//{host}").hostname or "") if host else ""
    return name == "localhost" or is_loopback(name)


def _listed(host: str, allowed: Collection[str]) -> bool:
    return host in allowed or (":" not in host and f"{host}:80" in allowed) or "*" in {a.split(":")[0] for a in allowed}


def unlisted_query(query: Mapping[str, Any], known: Collection[str]) -> str | None:
    """Return the sentence for a query's part that is not known, or None."""
    for name in query:
        if name not in known:
            return unknown_name("parameter", name, known) if known else f"no parameters are known, found {name!r}"
    return None
