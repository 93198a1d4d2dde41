"""Who may see a page: anyone on this machine; others only when Panel asks them who they are, or a flag waives it.

The address that counts is that of the socket. A request that says it was forwarded comes from a proxy on this machine for
somebody elsewhere; what such headers claim is never trusted, only that they are there.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

import panel as pn

FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Forwarded-Host", "Via")
REFUSAL = (
    "This page was asked for from another machine ({address}), and the server has no authentication switched on. "
    "Start it with Panel's: `--basic-auth PASSWORD --cookie-secret SECRET`, or `--oauth-provider ...`; "
    "or waive it for everybody who can reach this address: `--args --allow-anonymous`."
)


_waived = False


def waive() -> None:
    """Let everybody in who can reach this server, as `--allow-anonymous` says, for all that this process serves."""
    global _waived
    _waived = True


def is_waived() -> bool:
    """Tell whether `waive` was called."""
    return _waived


def refusal(request: Any, has_authentication: bool, allow_anonymous: bool) -> str | None:
    """Return the sentence for a page that must not be shown, or None when it may be.

    request: Tornado's request (or Bokeh's proxy of it); None when the page is made without one, to warm up.
    """
    if request is None or has_authentication or allow_anonymous:
        return None
    address = str(getattr(request, "remote_ip", "") or "unknown address")
    headers = getattr(request, "headers", None) or {}
    forwarded = _forwarded(headers)
    if forwarded:
        return REFUSAL.format(address=f"through a proxy, header {forwarded}")
    return None if is_loopback(address) else REFUSAL.format(address=address)


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own; anything that is not an address is not."""
    if address in ("", "0.0.0.0") or "/" in address:
        return False
    try:
        parsed = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def has_authentication() -> bool:
    """Tell whether Panel asks for a login before it serves a page."""
    return bool(pn.config.oauth_provider or pn.config.basic_auth)


def _forwarded(headers: Mapping[str, Any]) -> str | None:
    present = {name.lower() for name in headers}
    return next((name for name in FORWARDED if name.lower() in present), None)
