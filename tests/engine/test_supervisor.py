"""The supervisor's rules: a dead child is started again, later each time it dies at once, and one server owns a folder."""

import contextlib
import socket
from pathlib import Path

import pytest

from volsurface.engine.launch import launch_from_flags
from volsurface.engine.supervisor import BACKOFF_S, Child, Supervisor, exit_words, free_port
from volsurface.io.places import SERVICES_FILE, is_alive, read_json


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Supervisor(launch_from_flags(["--data", str(tmp_path / "data")]))


def test_a_child_that_dies_at_once_waits_longer_each_time(supervisor: Supervisor) -> None:
    child = Child("feed", ["--version"])  # ends by itself
    supervisor._children = [child]
    supervisor._spawn(child)
    waits = []
    for _ in range(3):
        assert child.process is not None
        child.process.wait(30)
        ended = child.started
        supervisor._look_after(child)  # notices the end, and starts again when the wait is nothing
        waits.append(child.due)
        assert child.last_exit == 0
        child.due = 0.0
        supervisor._look_after(child)
        assert child.started > ended
    assert child.in_a_row == 3
    assert child.restarts == 3
    services = read_json(supervisor.run_folder / SERVICES_FILE)["services"]
    assert services["feed"]["restarts"] == 3
    assert BACKOFF_S[0] == 0.0, "the first restart does not wait"
    assert list(BACKOFF_S) == sorted(BACKOFF_S)
    child.process.wait(30)


def test_one_server_owns_a_data_folder(supervisor: Supervisor) -> None:
    assert supervisor.take_lock()
    other = Supervisor(supervisor.launch)
    assert not other.take_lock()
    assert supervisor._lock_file is not None
    supervisor._lock_file.close()
    assert other.take_lock()


def test_exits_are_told_in_words() -> None:
    assert exit_words(1) == "exit code 1"
    assert exit_words(-9) == "killed by SIGKILL"
    assert exit_words(-250) == "killed by signal 250"


def test_small_helpers_of_the_places(tmp_path: Path) -> None:
    assert 1024 <= free_port() <= 65535
    assert is_alive(1)
    assert not is_alive(-5)
    assert not is_alive("1")
    assert read_json(tmp_path / "absent.json") is None
    (tmp_path / "half.json").write_text("{")
    assert read_json(tmp_path / "half.json") is None


def test_ports_in_a_row_are_all_free() -> None:
    first = free_port(5)
    with contextlib.ExitStack() as held:
        for port in range(first, first + 5):
            held.enter_context(socket.socket()).bind(("127.0.0.1", port))
