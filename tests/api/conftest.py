"""The page servers of the tests here: each is started when the first test asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from served_api import TOKENS, ApiServer


def serving(folder: Path, *flags: str) -> Iterator[ApiServer]:
    """Run a server; at the end nothing of ours may have failed in it."""
    tokens = folder / "tokens.toml"
    tokens.write_text(TOKENS)
    server = ApiServer(tokens, *flags)
    yield server
    output = server.stop()
    assert "Traceback" not in output, output


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server for this machine without a login."""
    yield from serving(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="package")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server with Panel's login."""
    yield from serving(tmp_path_factory.mktemp("api"), "--basic-auth", "open sesame", "--cookie-secret", "not a secret")
