"""A page whose server has gone says so by itself, and comes back when the server does."""

from collections.abc import Iterator

import pytest
from conftest import DRAWN, Server, free_port
from playwright.sync_api import Browser, expect


@pytest.fixture
def mortal_server(chromium: str) -> Iterator[Server]:
    server = Server(free_port())
    server.start()
    yield server
    server.stop()


def test_the_browser_draws_the_strip_and_the_page_returns(mortal_server: Server, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(mortal_server.url + "?expiry=5DEC26&theme=light")
    page.wait_for_function(DRAWN)
    expect(page.locator(".name", has_text="SMILE · BTC 5DEC26")).to_be_visible()
    mortal_server.stop()
    expect(page.get_by_role("alert")).to_contain_text("reconnecting, data below is old")
    mortal_server.start()
    page.wait_for_function(f"{DRAWN} && !document.querySelector('[role=alert]:not([hidden])')", timeout=20_000)
    expect(page.locator(".name", has_text="SMILE · BTC 5DEC26")).to_be_visible()  # what was chosen is in the link
    page.context.close()
