"""Prints what the conformance kit and the fuzzer have counted, venue by venue, at the end of `pytest tests/venues`."""

from typing import Any

import pytest

_SCENARIOS: dict[str, Any] = {}  # venue -> kit_scenarios.Tally
_FUZZED: dict[str, Any] = {}  # venue -> kit_fuzz.Fuzzed


@pytest.fixture(scope="session")
def scenario_table() -> dict[str, Any]:
    """Where the kit leaves its counts."""
    return _SCENARIOS


@pytest.fixture(scope="session")
def fuzz_table() -> dict[str, Any]:
    """Where the fuzzer leaves its counts."""
    return _FUZZED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the two tables of what has run."""
    if _SCENARIOS:
        venues = sorted(_SCENARIOS)
        terminalreporter.section("conformance kit: faults committed, and what came of them")
        names = list(dict.fromkeys(name for venue in venues for name in _SCENARIOS[venue].faults))
        rows = [(name, [_SCENARIOS[venue].faults[name] for venue in venues]) for name in sorted(names)]
        rows += [
            ("scenarios", [_SCENARIOS[venue].scenarios for venue in venues]),
            ("books compared", [_SCENARIOS[venue].books for venue in venues]),
            ("wrong scenarios", [len(_SCENARIOS[venue].wrong) for venue in venues]),
        ]
        _print(terminalreporter, venues, rows)
    if _FUZZED:
        venues = sorted(_FUZZED)
        terminalreporter.section("fuzzed frames")
        kinds = ("frames", "rejected", "values checked", "values not carried", "exceptions")
        counts = [(kind, [getattr(_FUZZED[venue], kind.replace(" ", "_")) for venue in venues]) for kind in kinds]
        _print(terminalreporter, venues, counts)


def _print(terminalreporter: Any, venues: list[str], rows: list[tuple[str, list[int]]]) -> None:
    terminalreporter.write_line(f"{'':20}" + "".join(f"{venue:>12}" for venue in venues))
    for name, counts in rows:
        terminalreporter.write_line(f"{name:20}" + "".join(f"{count:>12}" for count in counts))
