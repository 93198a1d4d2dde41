"""The inline transport behaves as a socket does: one body, and refusals are TransportErrors."""

import pytest

from volsurface.errors import SettingsError, TransportError
from volsurface.io.transport.inline import InlineChannel


async def echo(kind: int, body: bytes) -> bytes | list[bytes]:
    if kind == 3:
        raise SettingsError("fit.weighting must be one of three")
    return body if kind == 1 else [body, b"-", body]


async def test_replies_are_one_body_and_errors_are_of_the_transport():
    channel = InlineChannel(echo)
    assert await channel.request(1, b"ab") == b"ab"
    assert await channel.request(2, b"ab") == b"ab-ab"
    with pytest.raises(TransportError, match="must be one of three"):
        await channel.request(3, b"")
    await channel.close()
