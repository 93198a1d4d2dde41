"""A service as a process: it ends when asked, when its parent dies, and says why; an error is one sentence."""

import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest

HEAD = """
import asyncio, os, sys
from volsurface.engine.service import run_service
from volsurface.errors import ServiceError
"""
WAITS = """
async def work(stop):
    print("ready", flush=True)
    await stop.wait()
    print("saved", flush=True)
sys.exit(run_service(work, "feed", nice=5))
"""
IGNORES_STOP = """
import volsurface.engine.service as service
service.STOP_WITHIN_S = {stop_within}
async def work(stop):
    print("ready", flush=True)
    await stop.wait()
    print("asked", flush=True)
    await asyncio.Event().wait()
sys.exit(run_service(work, "feed"))
"""


def start(body: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HEAD + body)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def end(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number):
    process = start(WAITS)
    assert process.stdout.readline() == "ready\n"
    assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 5
    process.send_signal(number)
    code, out, err = end(process)
    assert (code, out) == (0, "saved\n")
    line = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z INFO feed {process.pid} stopping: {number.name}\n"
    assert re.match(line, err), err


def test_it_ends_with_its_parent():
    process = start(WAITS, VOLSURFACE_WATCH_STDIN="1")
    assert process.stdout.readline() == "ready\n"
    code, out, err = end(process)  # communicate() closes its standard input
    assert (code, out) == (0, "saved\n")
    assert "the parent is gone" in err


def test_standard_input_is_not_watched_unless_asked():
    process = start(WAITS, VOLSURFACE_WATCH_STDIN="")
    assert process.stdout.readline() == "ready\n"
    process.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.send_signal(signal.SIGTERM)
    process.stdin = None
    assert end(process)[0] == 0


def test_a_second_interrupt_ends_it_at_once():
    process = start(IGNORES_STOP.format(stop_within=60))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 130


def test_a_service_that_does_not_stop_is_cancelled():
    process = start(IGNORES_STOP.format(stop_within=0.05))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    code, _, err = end(process)
    assert code == 0
    assert "did not stop within 0.05 s" in err


@pytest.mark.parametrize(
    ("error", "said"),
    [("ServiceError('port 1 is in use')", "ERROR feed"), ("ValueError('surprise')", "Traceback")],
)
def test_an_error_is_said_and_is_the_exit_code(error, said):
    process = start(f"async def work(stop): raise {error}\nsys.exit(run_service(work, 'feed'))")
    code, _, err = end(process)
    assert code == 1
    assert said in err
    assert "port 1 is in use" in err or "surprise" in err
    assert ("Traceback" in err) == ("surprise" in err)


def test_the_log_goes_to_a_file_when_asked(tmp_path):
    file = tmp_path / "logs" / "feed.log"
    process = start(
        "from pathlib import Path\nasync def work(stop): pass\n"
        f"sys.exit(run_service(work, 'feed', log_file=Path({str(file)!r})))"
    )
    code, _, err = end(process)
    assert (code, err) == (0, "")
    assert f"INFO feed {process.pid} stopped" in file.read_text()
