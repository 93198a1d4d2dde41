"""Public GETs for codecs: what one asks for is fetched once and handed to every connection that asks the same.

The connections of one venue each want its whole listing at about the same time, and venues count requests. An answer is
therefore kept for a while for those who have not had it; whoever asks again gets a fresh one.
"""

import asyncio
import logging
import ssl as tls
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

SHARED_S = 30.0  # an answer is good for other askers this long
FAILURE_SHARED_S = 2.0
STEP_TIMEOUT_S = 10.0  # to connect, and between two pieces of an answer
TIMEOUT_S = 30.0
MAX_BODY_BYTES = 64 << 20  # listings are 1 to 2 MB

logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line per request


@dataclass(slots=True)
class _Fetch:
    task: asyncio.Task[tuple[int, bytes]]
    started_s: float
    askers: set[object] = field(default_factory=set)

    def is_for(self, asker: object, now_s: float) -> bool:
        """Return whether `asker` may have this answer: it is under way, or new to him and not old."""
        if not self.task.done():
            return True
        return asker not in self.askers and now_s - self.started_s < self.shared_s()

    def shared_s(self) -> float:
        """Return how long after its start a finished fetch is shared."""
        return SHARED_S if not self.task.cancelled() and self.task.result()[0] == 200 else FAILURE_SHARED_S


class RestClient:
    """GETs over kept connections; belongs to one event loop and must be closed.

    ssl: how to check https servers; None checks them against the system's authorities. Proxies of the environment are
    not used, as by the websockets.
    """

    def __init__(self, ssl: tls.SSLContext | None = None) -> None:
        self._ssl = ssl
        self._client: httpx.AsyncClient | None = None
        self._fetches: dict[str, _Fetch] = {}

    async def get(self, url: str, asker: object) -> tuple[int, bytes]:
        """Return (HTTP status, body) of a GET; status 0 and the reason as UTF-8 where there was no answer.

        asker: who asks; the same one never gets the same answer twice.
        """
        now_s = asyncio.get_running_loop().time()
        done = [u for u, fetch in self._fetches.items() if fetch.task.done()]
        for old in [u for u in done if now_s - self._fetches[u].started_s >= self._fetches[u].shared_s()]:
            del self._fetches[old]
        fetch = self._fetches.get(url)
        if fetch is None or not fetch.is_for(asker, now_s):
            fetch = self._fetches[url] = _Fetch(asyncio.create_task(self._fetch(url)), now_s)
        fetch.askers.add(asker)
        return await asyncio.shield(fetch.task)  # one asker that leaves must not take the answer from the others

    async def _fetch(self, url: str) -> tuple[int, bytes]:
        if self._client is None:
            verify: tls.SSLContext | bool = self._ssl or True
            self._client = httpx.AsyncClient(verify=verify, trust_env=False, timeout=STEP_TIMEOUT_S)
        try:
            async with asyncio.timeout(TIMEOUT_S), self._client.stream("GET", url) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_BODY_BYTES:
                        return 0, f"{url}: the answer is longer than {MAX_BODY_BYTES} bytes".encode()
                return response.status_code, bytes(body)
        except Exception as error:  # beside httpx's own there are those of sockets, TLS and odd addresses
            return 0, f"cannot reach {url}: {str(error) or type(error).__name__}".encode()

    async def close(self) -> None:
        """End what is under way and close the connections."""
        tasks = [fetch.task for fetch in self._fetches.values()]
        self._fetches.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def rest_url_beside(websocket_url: str) -> str:
    """Return the http(s) address of the host and port of a ws(s) address: where a simulated venue answers GETs."""
    parts = urlsplit(websocket_url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"
