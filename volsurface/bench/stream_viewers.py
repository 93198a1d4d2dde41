"""Many viewers of the surface's stream in a process of their own: they read everything, count bytes and check numbers.

Run by `bench.stream`: `python -m volsurface.bench.stream_viewers URL COUNT`, the token in VOLSURFACE_TOKEN. Prints a line when all are connected, and the
counts since the line before for every line that it reads.
"""

import asyncio
import json
import os
import sys

from websockets.asyncio.client import ClientConnection, connect

from volsurface.io.surface_columns import HEAD, SNAPSHOT

AT_ONCE = 50  # connections being opened


class Counts:
    """What all viewers together have read."""

    def __init__(self) -> None:
        self.frames = self.snapshots = self.bytes = self.snapshot_bytes = self.gaps = self.largest_of_one = (
            self.expiries
        ) = 0
        self.seqs: set[int] = set()

    def take(self, frame: bytes, held: int) -> int:
        """Count one frame of a viewer that holds frame `held`; return its number."""
        _, kind, _, _, seq, base, expiries, *_ = HEAD.unpack_from(frame)
        self.frames += 1
        self.seqs.add(seq)
        if kind == SNAPSHOT:
            self.snapshots += 1
            self.snapshot_bytes += len(frame)
        else:
            self.bytes += len(frame)
            self.expiries += expiries
            if expiries == 1:
                self.largest_of_one = max(self.largest_of_one, len(frame))
            self.gaps += base != held
        return int(seq)


async def watch(urls: list[str]) -> None:
    """Open all, say so, and answer each line of standard input until it ends."""
    counts, turn, opened = Counts(), asyncio.Semaphore(AT_ONCE), 0
    everyone = asyncio.Event()
    token = {"Authorization": f"Bearer {os.environ['VOLSURFACE_TOKEN']}"}

    async def read(socket: ClientConnection) -> None:
        held = 0
        async for frame in socket:
            assert isinstance(frame, bytes)
            held = counts.take(frame, held)

    async def view(url: str) -> None:
        nonlocal opened
        async with turn:
            socket = await connect(
                url, additional_headers=token, compression=None, proxy=None, ping_interval=None, open_timeout=60
            )
        opened += 1
        if opened == len(urls):
            everyone.set()
        await read(socket)

    tasks = [asyncio.create_task(view(url)) for url in urls]
    opening = asyncio.create_task(everyone.wait())
    done, _ = await asyncio.wait([*tasks, opening], return_when=asyncio.FIRST_COMPLETED)
    if opening not in done:
        raise SystemExit(f"a viewer could not stay: {next(iter(done)).exception()!r}")
    print(json.dumps({"viewers": opened}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        gone = sum(task.done() for task in tasks)
        print(json.dumps({**vars(counts), "seqs": len(counts.seqs), "gone": gone}), flush=True)
        counts = Counts()
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(watch([sys.argv[1]] * int(sys.argv[2])))
