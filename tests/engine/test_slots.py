"""The engine's slot table and its reader: newest value wins, events are numbered, an earlier epoch starts anew."""

import asyncio
from pathlib import Path

import pytest

from volsurface.engine.chain_fit import free_fit
from volsurface.engine.client import LiveClient, connect
from volsurface.engine.slots import EVENT_RING, SlotTable
from volsurface.errors import ServiceError, SettingsError
from volsurface.io.places import ENGINE_SOCKET
from volsurface.io.publication import Publication
from volsurface.io.transport.unix import UnixServer
from volsurface.io.transport.wire import CONTROL, decode_map, encode_map
from volsurface.simulator.chain import simulated_chain


async def ask(table: SlotTable, **cursor: int) -> dict:
    return decode_map(await table.reply(encode_map(cursor)))


async def test_only_what_is_newer_comes() -> None:
    table = SlotTable(epoch=7)
    table.set("a", b"1")
    table.set("b", b"2")
    first = await ask(table)
    assert first["slots"] == {"a": b"1", "b": b"2"}
    table.set("a", b"3")
    table.set("a", b"4")
    second = await ask(table, epoch=7, cursor=first["cursor"], event_cursor=0)
    assert second["slots"] == {"a": b"4"}


async def test_a_request_waits_for_the_next_change() -> None:
    table = SlotTable(epoch=7)
    waiting = asyncio.create_task(ask(table, epoch=7, cursor=0, event_cursor=0))
    await asyncio.sleep(0)
    assert not waiting.done()
    table.set("a", b"1")
    assert (await waiting)["slots"] == {"a": b"1"}


async def test_nothing_new_is_an_empty_reply() -> None:
    assert (await ask(SlotTable(epoch=7), epoch=7))["slots"] == {}


async def test_a_preview_is_no_surface_and_goes_with_the_first_one(tmp_path: Path) -> None:
    table = SlotTable(epoch=7)
    fit = free_fit(simulated_chain("BTC", seed=1))
    preview = Publication("BTC", 0, 1, 2, 3, 4, 0, 5.0, 1, fit.surface, fit.quotes)

    async def handle(kind: int, body: bytes) -> bytes:
        return await table.reply(body)

    server = UnixServer(tmp_path / ENGINE_SOCKET, handle)
    await server.start()
    client = LiveClient(tmp_path)
    table.set("preview.BTC", preview.encode())
    await client.poll()
    assert client.surfaces == {}
    assert client.previews["BTC"].surface == fit.surface
    table.set("preview.BTC", b"")
    await client.poll()
    assert (client.surfaces, client.previews) == ({}, {})
    await client.close()
    await server.close()


async def test_events_are_numbered_and_losses_told() -> None:
    table = SlotTable(epoch=7)
    for i in range(EVENT_RING + 5):
        table.event("gap", i, f"gap {i}")
    reply = await ask(table, epoch=7, cursor=0, event_cursor=0)
    assert reply["dropped"] == 5
    assert [event["seq"] for event in reply["events"]] == list(range(6, EVENT_RING + 6))


async def test_an_unknown_epoch_gets_all_slots_and_events_from_now_on() -> None:
    table = SlotTable(epoch=7)
    table.set("a", b"1")
    table.event("gap", 1)
    reply = await ask(table, epoch=3, cursor=99, event_cursor=99)
    assert reply["slots"] == {"a": b"1"}
    assert reply["events"] == []
    assert reply["dropped"] == 0


async def test_the_client_follows_and_says_when_nobody_answers(tmp_path: Path) -> None:
    table = SlotTable(epoch=5)

    async def handle(kind: int, body: bytes) -> bytes:
        if kind == CONTROL:
            refused = "bad" in decode_map(body)["settings"]
            return encode_map({"error": "unknown section 'bad'"} if refused else {"version": 4})
        return await table.reply(body)

    client = LiveClient(tmp_path)
    assert not await client.poll()
    assert not client.connected
    assert client.error
    async with UnixServer(tmp_path / ENGINE_SOCKET, handle):
        table.set("status", encode_map({"steps": 3}))
        table.set("settings", encode_map({"values": {"fit": {}}, "version": 3}))
        assert await client.poll()
        assert client.connected
        assert client.status == {"steps": 3}
        assert client.settings_version == 3
        assert await client.change_settings({"fit": {}}, "test") == 4
        with pytest.raises(SettingsError, match="unknown section 'bad'"):
            await client.change_settings({"bad": {}}, "test")
    assert not await client.poll()
    assert not client.connected
    assert client.status == {"steps": 3}, "the last state stays"
    await client.close()


def test_connect_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(ServiceError, match="start one with `volsurface serve`"):
        connect()
