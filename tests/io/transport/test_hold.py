"""Holding: all who wait go on together, once per turn of the loop, or when their time is over."""

import asyncio

from volsurface.io.transport.hold import Change


async def waiters(change: Change, count: int, timeout_s: float = 60.0) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(change.wait(timeout_s)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_change_wakes_everybody_and_only_after_the_current_turn():
    change = Change()
    tasks = await waiters(change, 3)
    change.notify()
    change.notify()
    assert not any(task.done() for task in tasks)
    await asyncio.gather(*tasks)


async def test_a_change_that_nobody_waited_for_is_not_kept():
    change = Change()
    change.notify()
    (task,) = await waiters(change, 1)
    await asyncio.sleep(0)
    assert not task.done()
    change.notify()
    await task


async def test_it_ends_by_itself():
    await Change().wait(0.001)


async def test_one_who_gives_up_does_not_disturb_the_others():
    change = Change()
    gone, stays = await waiters(change, 2)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    change.notify()
    await stays
    assert gone.cancelled()
