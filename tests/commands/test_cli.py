"""The command line on good and bad input: what it prints, what it returns, and that a mistake is one sentence."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from volsurface.cli import gathered
from volsurface.simulator.chain import simulated_chain
from volsurface.surface.instants import to_iso
from volsurface.version import __version__


def run(*arguments: str, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "140", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "volsurface", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=cwd, env=environment, timeout=240)


@pytest.fixture(scope="module")
def chain_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated chain in our own columns."""
    path = tmp_path_factory.mktemp("chains") / "chain.csv"
    chain = simulated_chain("BTC", seed=5)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("timestamp venue underlying instrument expiry strike right bid ask settlement forward".split())
        for i in range(len(chain)):
            prices = ["" if price != price else repr(float(price)) for price in (chain.bid[i], chain.ask[i])]
            writer.writerow(
                [
                    to_iso(chain.time_ns), chain.venue[i], "BTC", chain.symbol[i], to_iso(int(chain.expiry_ns[i])),
                    repr(float(chain.strike[i])), "call" if chain.right[i] > 0 else "put", *prices, "coin",
                    repr(float(chain.forward[i])),
                ]
            )  # fmt: skip
    return path


def test_version() -> None:
    done = run("--version")
    assert done.stdout.strip() == f"volsurface {__version__}"
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(17))
@pytest.mark.parametrize("model", ["svi", "mixture"])
def test_what_fit_writes_of_every_recorded_snapshot_is_proved_by_verify(
    recorded: Path, number: int, model: str
) -> None:
    path = sorted((recorded / "market/deribit_chain_6h").glob("*_chain_*.parquet"))[number]
    fit = subprocess.Popen(
        [sys.executable, "-m", "volsurface", "fit", str(path), "--json", "--model", model], stdout=subprocess.PIPE
    )
    verified = subprocess.run(
        [sys.executable, "-m", "volsurface", "verify", "-"],
        stdin=fit.stdout,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert fit.wait(60) == 0
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(
    "command", ["serve", "warm", "doctor", "fit", "verify", "simulate", "feed", "engine", "historian"]
)
def test_each_command_has_help_with_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout


def test_fit_prints_a_row_per_snapshot(chain_csv: Path) -> None:
    done = run("fit", str(chain_csv), "--smiles")
    assert done.returncode == 0, done.stderr
    assert "2026-11-20 12:00:00" in done.stdout
    assert "1 surfaces, 12 smiles" in done.stdout
    assert "in_the_money" in done.stdout


def test_fit_json_has_the_documented_schema_and_verify_takes_it(chain_csv: Path) -> None:
    done = run("fit", str(chain_csv), "--json")
    document = json.loads(done.stdout)
    wanted = {"underlying", "valuation_time", "state", "smiles", "certificate", "timing_ms"}
    assert wanted <= document.keys()
    wanted = set("expiry years forward forward_source svi n_quotes n_rejected inside_spread rmse_bp state".split())
    for smile in document["smiles"]:
        assert wanted <= smile.keys()
        assert set(smile["svi"]) == {"a", "b", "rho", "m", "sigma"}
    assert document["certificate"]["ok"] is True
    assert len(document["certificate"]["butterfly"]) == 12
    assert len(document["certificate"]["calendar"]) == 11
    verified = run("verify", "-", stdin=done.stdout)
    assert verified.returncode == 0
    assert "12 smiles proved" in verified.stdout


def test_a_mixture_is_written_with_both_components_and_proved(chain_csv: Path) -> None:
    done = run("fit", str(chain_csv), "--json", "--model", "mixture")
    smiles = json.loads(done.stdout)["smiles"]
    mixed = [smile for smile in smiles if smile["model"] == "mixture"]
    assert mixed
    assert set(mixed[0]["mixture"]) >= {"weight", "a1", "sigma1", "a2", "sigma2"}
    verified = run("verify", "-", stdin=done.stdout)
    assert verified.returncode == 0
    assert "12 smiles proved" in verified.stdout


def test_an_unknown_model_is_refused_with_what_is_allowed(chain_csv: Path) -> None:
    done = run("fit", str(chain_csv), "--model", "cubic")
    assert done.returncode != 0
    assert "cubic" in done.stderr and "automatic" in done.stderr


def test_a_planted_arbitrage_is_found_and_named(chain_csv: Path, tmp_path: Path) -> None:
    document = json.loads(run("fit", str(chain_csv), "--json").stdout)
    document["smiles"][4]["svi"]["a"] -= 0.9 * document["smiles"][4]["svi"]["a"] + 0.01
    planted = tmp_path / "planted.json"
    planted.write_text(json.dumps(document))
    done = run("verify", str(planted))
    assert done.returncode == 1
    assert document["smiles"][4]["expiry"] in done.stdout
    assert "k = " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "absent.parquet"], ["absent.parquet"]),
        (["fit", "text.csv"], ["text.csv", "expiry"]),
        (["fit", "chain.parquet"], ["chain.parquet"]),
        (["verify", "absent.json"], ["cannot read absent.json"]),
        (["verify", "text.csv"], ["is not JSON"]),
        (["verify", "other.json"], ["not a fitted surface"]),
        (["serve", "--venues", "deribt"], ["unknown venue 'deribt'; did you mean 'deribit'"]),
        (["serve", "--config", "absent.toml"], ["cannot read settings file absent.toml"]),
        (["serve", "--config", "bad.toml"], ["did you mean 'min_quotes'"]),
        (["serve", "--chains", "absent"], ["no chain file or folder at absent"]),
        (["serve", "--rate", "0"], ["market.rate = 0", "from 1 to 200000"]),
        (["serve", "--port", "70000"], ["from 0 to 65535, found 70000"]),
        (["simulate", "--venues", "nowhere"], ["unknown venue 'nowhere'"]),
        (["simulate", "--rate", "-3"], ["--rate must be above 0"]),
        (["simulate", "--fault", "gap:often"], ["NAME:RATE"]),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_1(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    (tmp_path / "chain.parquet").write_text("not parquet")
    (tmp_path / "other.json").write_text('{"hello": 1}')
    (tmp_path / "bad.toml").write_text("[fit]\nmin_quote = 3\n")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("error:")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_busy_port_is_named_with_a_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert f"--port {port + 1}" in done.stderr


def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    done = run("doctor", "--data", str(tmp_path))
    assert done.returncode == 0, done.stdout
    for word in ("Python", "packages", "data folder", "run folder", "kernel cache"):
        assert word in done.stdout


def test_doctor_listens_to_a_venue(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "volsurface", "simulate", "--rate", "800", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as venue:
        assert venue.stdout is not None
        address = venue.stdout.readline().split()[1]
        try:
            done = run("doctor", "--venue-url", address, "--seconds", "6", "--data", str(tmp_path))
        finally:
            venue.terminate()
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"deribit\s*│ live", done.stdout), done.stdout
    done = run("doctor", "--venues", "okx", "nyse", "--venue-url", address, "okx=ws://127.0.0.1:9", "--seconds", "1",
               "--data", str(tmp_path))  # fmt: skip
    assert done.returncode == 1
    for venue in ("deribit", "okx"):
        assert re.search(rf"^{venue}: disconnect: {venue}: cannot connect to ws://", done.stdout, re.M), done.stdout
    assert "nyse: unknown venue 'nyse'" in done.stdout


def test_one_option_takes_several_venues():
    asked = ["doctor", "--venues", "a", "b", "--seconds", "3", "--venue-url", "a=ws://x", "b=ws://y"]
    assert gathered(asked) == [
        "doctor", "--venues", "a", "--venues", "b", "--seconds", "3", "--venue-url", "a=ws://x", "--venue-url", "b=ws://y",
    ]  # fmt: skip
    assert gathered(["fit", "a.csv", "b.csv"]) == ["fit", "a.csv", "b.csv"]
