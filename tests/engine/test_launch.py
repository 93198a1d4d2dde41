"""The flags of a server: each mistake is refused before anything starts, and none can be taken for one of Panel's."""

import argparse
from pathlib import Path

import pytest
from bokeh.command.subcommands.serve import Serve as BokehServe
from panel.command.serve import Serve

from volsurface.cli import app
from volsurface.commands.serve import flag_arguments
from volsurface.engine.launch import FLAGS, Launch, launch_from_flags
from volsurface.errors import ServiceError, SettingsError, VenueError, VolSurfaceError


@pytest.fixture(autouse=True)
def own_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def launch(tmp_path: Path, *flags: str) -> Launch:
    return launch_from_flags(["--data", str(tmp_path), *flags])


def test_the_default_market_is_simulated(tmp_path: Path) -> None:
    made = launch(tmp_path)
    assert made.source == "simulated"
    assert made.settings().market.venues == ["deribit", "okx", "bybit", "binance", "derive"]
    assert made.settings().market.underlyings == ["BTC", "ETH"]


def test_naming_a_venue_makes_it_live(tmp_path: Path) -> None:
    made = launch(tmp_path, "--venues", "Deribit", "--underlyings", "btc")
    assert made.source == "live"
    assert made.settings().market.venues == ["deribit"]
    assert made.settings().market.underlyings == ["BTC"]


def test_an_address_on_this_machine_is_never_called_live(tmp_path: Path) -> None:
    assert launch(tmp_path, "--venue-url", "deribit=ws://127.0.0.1:99/ws/api/v2").source == "simulated"
    assert launch(tmp_path, "--venue-url", "deribit=wss://test.deribit.com/ws/api/v2").source == "live"


@pytest.mark.parametrize(
    ("flags", "error", "words"),
    [
        (["--venues", "deribt"], VenueError, "did you mean 'deribit'"),
        (["--venue-url", "deribit"], SettingsError, "NAME=ws://"),
        (["--venue-url", "nowhere=ws://x"], VenueError, "unknown venue 'nowhere'"),
        (["--chains", "absent"], ServiceError, "no chain file or folder at absent"),
        (["--rate", "many"], SettingsError, "--rate must be a number, found 'many'"),
        (["--rate", "-1"], SettingsError, "market.rate = -1.0"),
        (["--config", "absent.toml"], SettingsError, "cannot read settings file"),
        (["--services-log-level", "loud"], SettingsError, "unknown log level 'loud'"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path: Path, flags: list[str], error: type[VolSurfaceError], words: str) -> None:
    with pytest.raises(error, match=words):
        launch(tmp_path, *flags)


def test_orders_survive_the_run_folder(tmp_path: Path) -> None:
    made = launch(tmp_path, "--venues", "deribit")
    made.write()
    assert Launch.read(made.run_folder) == made


def panel_flags() -> set[str]:
    parser = argparse.ArgumentParser()
    subcommand = Serve(parser)
    assert isinstance(subcommand, BokehServe)
    return {text for action in parser._actions for text in action.option_strings if text.startswith("--")}


def test_no_flag_begins_like_one_of_panels() -> None:
    theirs = panel_flags()
    assert "--port" in theirs
    for name, *_ in FLAGS:
        assert not [flag for flag in theirs if flag.startswith(f"--{name}")], f"--{name} would be taken for Panel's"


def test_the_command_line_has_the_same_flags() -> None:
    import typer

    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    offered = {
        option.lstrip("-") for parameter in command.params for option in parameter.opts + parameter.secondary_opts
    }
    renamed = {"services-log-level": "log-level", "services-log-file": "log-file"}
    for name, *_ in FLAGS:
        assert renamed.get(name, name) in offered


def test_flags_become_arguments() -> None:
    flags = {
        "venues": ["deribit", "okx,bybit"],
        "rate": 5.0,
        "no-history": True,
        "data": None,
        "allow-anonymous": False,
    }
    assert flag_arguments(flags) == ["--venues", "deribit", "okx", "bybit", "--rate", "5.0", "--no-history"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--replay", "REC", "--venues", "deribit"], "cannot be joined"),
        (["--replay", "REC", "--record", "OTHER"], "cannot be joined"),
        (["--replay", "REC"], "cannot read the recording"),
        (["--record", "OTHER", "--chains", "CHAIN"], "there are none in chain files"),
    ],
)
def test_recordings_that_cannot_be_meant_are_refused(tmp_path: Path, flags: list[str], words: str) -> None:
    chain = tmp_path / "chain.csv"
    chain.write_text("timestamp\n")
    flags = [str(chain) if flag == "CHAIN" else str(tmp_path / flag) if flag.isupper() else flag for flag in flags]
    with pytest.raises(VolSurfaceError, match=words):
        launch_from_flags([*flags, "--data", str(tmp_path / "data")])


def test_where_to_record_is_written_down_for_the_services(tmp_path: Path) -> None:
    launch = launch_from_flags(["--record", str(tmp_path / "rec"), "--data", str(tmp_path)])
    launch.write()
    read = Launch.read(launch.run_folder)
    assert read is not None
    assert read.record == str(tmp_path / "rec")
    assert read.recording is None
