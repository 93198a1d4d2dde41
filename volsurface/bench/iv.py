"""How exact and how fast are implied vols, ours and other people's, in one run?

Two tables. Peers: ns per option on a chain of 1,000, its largest error against 50 digits, and on the stress set how many
vols are missing or off by 1e-6 and the largest error in units of what a rounding of the price allows. Ours: each form.
Times are the best of many rounds, one thread, arrays hot in the cache; peers that take one option per call are looped over
in Python, and say so.
"""

import json
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from volsurface.bench.iv_peers import PEERS, interpreter, version_of
from volsurface.bench.iv_sets import OptionSet, chain_set, stress_set
from volsurface.pricing.batch import solve
from volsurface.pricing.implied_vol import implied_vols
from volsurface.pricing.status import OK, OK_SCALAR

CHAIN = 1000
STRESS = 4400
BIG = 1_000_000
SECONDS = 1.0  # per measurement
BAD_ERROR = 1e-6
COLD = np.empty(0)


def main(as_json: bool = False) -> int:
    """Print both tables and what was skipped, or the rows as JSON."""
    rows = run()
    if as_json:
        print(json.dumps(rows))
        return 0
    console = Console()
    peers = Table(
        "solver",
        "ns",
        "x ours",
        "chain: max error",
        "stress: bad",
        "stress: error/attainable",
        title=f"implied vol per option, {interpreter()}",
    )
    for row in rows:
        if row["table"] == "peers":
            peers.add_row(
                row["solver"],
                f"{row['ns']:,.1f}",
                f"{row['ratio']:,.1f}" if row["ratio"] < 10 else f"{row['ratio']:,.0f}",
                _number(row["chain_error"]) + (f", {row['chain_missing']} missing" if row["chain_missing"] else ""),
                f"{row['stress_bad']:,} of {row['stress_options']:,}",
                _number(row.get("stress_attainable")),
            )
    console.print(peers)
    ours = Table("ours", "options", "ns/option", "target", title="every form, the same run")
    for row in rows:
        if row["table"] == "ours":
            ours.add_row(row["form"], f"{row['options']:,}", f"{row['ns']:,.1f}", row["target"])
    console.print(ours)
    for row in rows:
        if row["table"] == "skipped":
            console.print(f"{row['solver']} is skipped: {row['reason']}")
    return 0


def run(seconds: float = SECONDS, big: int = BIG) -> list[dict[str, Any]]:
    """Return the rows of both tables (`table`: "peers" or "ours") and of what could not be measured ("skipped")."""
    chain, stress = chain_set(CHAIN), stress_set(STRESS)
    rows: list[dict[str, Any]] = []
    try:
        truth = Truth(chain, stress)
    except ImportError:
        rows.append({"table": "skipped", "solver": "the error columns", "reason": "mpmath is not installed"})
        truth = None
    out, status = np.empty((1, chain.price.size)), np.empty(chain.price.size, np.int8)
    kernel_ns = best_ns(lambda: solve(*chain.inputs, COLD, out, status), chain.price.size, seconds)
    own_ns = best_ns(lambda: implied_vols(*chain.inputs), chain.price.size, seconds)
    rows.append(_peer_row("volsurface", lambda *inputs: implied_vols(*inputs).vol, own_ns, own_ns, truth))
    rows.append({**rows[-1], "solver": "its kernel, into given arrays", "ns": kernel_ns, "ratio": kernel_ns / own_ns})
    for peer in PEERS:
        try:
            solver = peer.load()
        except ImportError as error:
            rows.append({"table": "skipped", "solver": peer.name, "reason": str(error)})
            continue
        name = f"{peer.name} ({version_of(peer.package)}{', loop' if peer.looped else ''})"
        ns = best_ns(partial(solver, *chain.inputs), chain.price.size, seconds)
        rows.append(_peer_row(name, solver, ns, own_ns, truth))
    return rows + forms(chain, stress, seconds, big)


class Truth:
    """The exact vols of both sets, and how far a solver is from them."""

    def __init__(self, chain: OptionSet, stress: OptionSet) -> None:
        from volsurface.bench.exact import attainable, exact_vol

        self.chain, self.stress = chain, stress
        self.of_chain = [exact_vol(*row) for row in zip(*chain.inputs, chain.vol)]
        self.of_stress = [exact_vol(*row) for row in zip(*stress.inputs, stress.vol)]
        rows = zip(*stress.inputs[:4], self.of_stress)
        self.attainable = np.array([attainable(*row) for row in rows])

    def measure(self, solver: Callable[..., NDArray[np.float64]]) -> dict[str, Any]:
        """Return the error columns of a solver."""
        from volsurface.bench.exact import relative_error

        with np.errstate(all="ignore"):
            on_chain, on_stress = solver(*self.chain.inputs), solver(*self.stress.inputs)
        chain_errors = [relative_error(float(v), exact) for v, exact in zip(on_chain, self.of_chain)]
        errors = np.array([relative_error(float(v), exact) for v, exact in zip(on_stress, self.of_stress)])
        allowed = np.maximum(BAD_ERROR, 4.0 * self.attainable)  # a deep ITM price may not carry six digits
        found = [error for error in chain_errors if error < math.inf]
        return {
            "chain_error": max(found),
            "chain_missing": len(chain_errors) - len(found),
            "stress_bad": int((~(errors <= allowed)).sum()),
            "stress_attainable": float((errors / self.attainable)[errors < math.inf].max()),
        }


def _peer_row(
    name: str, solver: Callable[..., NDArray[np.float64]], ns: float, own_ns: float, truth: Truth | None
) -> dict[str, Any]:
    errors = truth.measure(solver) if truth else {"chain_error": None, "chain_missing": 0, "stress_bad": 0}
    return {
        "table": "peers",
        "solver": name,
        "ns": ns,
        "ratio": ns / own_ns,
        "stress_options": len(truth.of_stress) if truth else 0,
        **errors,
    }


def forms(chain: OptionSet, stress: OptionSet, seconds: float, big: int) -> list[dict[str, Any]]:
    """Return one row per form of our own solver."""
    rows: list[dict[str, Any]] = []

    def add(form: str, options: OptionSet, target: str, start: float | None = None, greeks: bool = False) -> float:
        n = options.price.size
        out, status = np.empty((7 if greeks else 1, n)), np.empty(n, np.int8)
        column = COLD if start is None else options.vol * (1.0 + start)
        ns = best_ns(lambda: solve(*options.inputs, column, out, status), n, seconds)
        assert (status <= OK_SCALAR).all()
        rows.append({"table": "ours", "form": form, "options": n, "ns": ns, "target": target})
        return ns

    cold = add("cold", chain, "<= 25")
    add("warm, starts 5e-4 off", chain, "<= 15", start=5e-4)
    add("warm, one start in ten useless", _with_useless_starts(chain), "")
    add("cold with six Greeks", chain, "<= 40", greeks=True)
    add("warm with six Greeks", chain, "", start=5e-4, greeks=True)
    add("cold, in the money", chain_set(CHAIN, in_the_money=True), "")
    status = implied_vols(*stress.inputs).status
    add("scalar path", OptionSet(*(column[status != OK] for column in stress)), "<= 300")
    add("stress set", stress, "")
    one = tuple(float(column[0]) for column in chain.inputs)
    ns = best_ns(lambda: implied_vols(*one), 1, seconds)
    rows.append({"table": "ours", "form": "public call, n = 1", "options": 1, "ns": ns, "target": "<= 5,000"})
    many = OptionSet(*(np.resize(column, big) for column in chain))
    add("one million, cold", many, f"<= {1.15 * cold:.1f} (cold + 15 %)")
    rows.append(_two_threads(many, rows[-1]["ns"], seconds))
    return rows


def _with_useless_starts(chain: OptionSet) -> OptionSet:
    vol = chain.vol.copy()
    vol[::10] = math.nan
    return chain._replace(vol=vol)


def _two_threads(options: OptionSet, alone_ns: float, seconds: float) -> dict[str, Any]:
    """Return the row of two threads that solve one half each, without the GIL."""
    n = options.price.size
    half = n // 2
    parts = [tuple(np.ascontiguousarray(c[where]) for c in options.inputs) for where in (slice(half), slice(half, n))]
    outs = [(np.empty((1, part[0].size)), np.empty(part[0].size, np.int8)) for part in parts]

    def both() -> None:
        threads = [threading.Thread(target=solve, args=(*part, COLD, *out)) for part, out in zip(parts, outs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ns = best_ns(both, n, seconds)
    form = f"one million, two threads ({alone_ns / ns:.2f} times as fast)"
    return {"table": "ours", "form": form, "options": n, "ns": ns, "target": ">= 1.8 times"}


def best_ns(work: Callable[[], object], options: int, seconds: float) -> float:
    """Return the best time per option in ns, over at least three rounds and `seconds`."""
    with np.errstate(all="ignore"):
        work()
        best, end, rounds = math.inf, time.perf_counter() + seconds, 0
        while rounds < 3 or time.perf_counter() < end:
            start = time.perf_counter_ns()
            work()
            best = min(best, time.perf_counter_ns() - start)
            rounds += 1
    return best / options


def _number(value: float | None) -> str:
    return (
        "" if value is None else f"{value:.1e}" if value < 1e-3 else f"{value:.1f}" if value < 1e4 else f"{value:.0e}"
    )
