"""The pipeline benchmark: its venue can repeat itself, and counts that hold on any machine hold in this one."""

import math

import numpy as np
import pytest

from volsurface.bench import pipeline
from volsurface.bench.pipeline_naive import InMemory, connected, listed_states, payloads
from volsurface.bench.pipeline_venue import STAMP, encode_cycle
from volsurface.bench.pipeline_watch import Head, counted, summary, to_browser_ms
from volsurface.engine.latency import Latencies
from volsurface.engine.materiality import Thresholds
from volsurface.market.row_table import MORE
from volsurface.surface.options import FitOptions

NOW = 1_795_219_200_000_000_000
LISTING = {"most_expiries": 4, "most_strikes": 12}
STEP_NS = 50_000_000


@pytest.fixture(scope="module", name="made")
def made_fixture() -> tuple[InMemory, list[bytes]]:
    made = connected(NOW, **LISTING)
    buffer, starts = encode_cycle(made.market, made.link, 20_000.0)
    assert len(STAMP.findall(buffer)) >= starts.size - 1 - 20  # nearly every frame has a time to bring up to date
    return made, list(payloads(buffer, starts.tolist()))


def test_a_cycle_can_be_sent_again_and_again(made: tuple[InMemory, list[bytes]]) -> None:
    (_, _, codec, _, now_ns), frames = made
    rejected, tops = codec.rejected, []
    for _ in range(3):
        for frame in frames:
            codec.receive(frame, now_ns)
        tops.append([(s.book.top()) for s in codec._options.streams.values()])
    assert codec.gaps == 0
    assert codec.rejected == rejected
    assert str(tops[0]) == str(tops[1]) == str(tops[2])
    assert len(frames) > 50_000


def test_a_backlog_is_never_more_than_one_row_an_instrument(made: tuple[InMemory, list[bytes]]) -> None:
    """An engine that has not asked for a whole cycle, over 50,000 messages, has it in one page."""
    (_, _, codec, table, now_ns), frames = made
    cursor, events = table.version, table.event_seq
    for frame in frames:
        codec.receive(frame, now_ns)
    assert table.version - cursor > 50_000
    page = table.reply(7_500, 1, cursor, events, now_ns)
    assert page.rows.size <= len(table.directory)
    assert not page.flags & MORE


def work(rate: float, seconds: float) -> dict[str, float]:
    """Step through `seconds` of a market at `rate`; return messages, and what was done of each stage."""
    market, link, codec, table, now_ns = connected(NOW, **LISTING)
    states, version = listed_states(table), 0
    buffer, starts = encode_cycle(market, link, rate)
    frames = list(payloads(buffer, starts.tolist()))
    per_step = round(rate * STEP_NS / 1e9)
    steps = round(seconds * 1e9 / STEP_NS)
    for step in range(steps):
        now_ns += STEP_NS
        for frame in frames[step * per_step : (step + 1) * per_step]:
            codec.receive(frame, now_ns)
        changed = np.flatnonzero(table.rows["version"] > version)
        version = table.version
        for state in states.values():
            state.step(table.rows, changed, now_ns, FitOptions(), Thresholds())
    done = {"messages": float(steps * per_step), "steps": float(steps)}
    for state in states.values():
        for stage, counts in state.ledger.table().items():
            done[stage] = done.get(stage, 0.0) + counts["done"]
    return done


def test_ten_times_the_messages_are_not_ten_times_the_work() -> None:
    """What is done follows what moves; a naive program fits once for every message that changes a row."""
    slow, fast = work(2_000.0, 1.0), work(20_000.0, 1.0)
    assert fast["messages"] == 10 * slow["messages"]
    assert fast["fits"] <= 1.6 * slow["fits"]
    assert fast["quotes"] <= 4 * slow["quotes"]
    assert fast["publications"] <= 2 * fast["steps"]
    assert fast["fits"] * 30 <= fast["messages"]
    assert fast["quotes"] * 2 <= fast["messages"]


def test_a_frame_shows_what_was_published_before_it() -> None:
    heads = [
        Head("BTC", i, published_ns=i * 100_000_000, oldest_tick_ns=i * 100_000_000 - 60_000_000) for i in (1, 2, 3)
    ]
    frames = [(105_000_000, 1), (230_000_000, 1), (290_000_000, 1)]
    # The frame read 5 ms after the first publication was drawn before it; the third was not shown.
    assert to_browser_ms(heads, frames) == [190.0, 90.0]


def test_latencies_between_two_readings() -> None:
    latencies = Latencies()
    latencies.add(np.array([10**9]))
    before = latencies.sparse()
    latencies.add(np.full(100, 5_000_000))
    found = counted(before, latencies.sparse())
    assert found["p50"] == pytest.approx(5.0, rel=0.06)
    assert found["max"] == pytest.approx(5.0, rel=0.06)
    assert counted(before, before) == {"p50": None, "p99": None, "max": None}
    assert summary([]) == {"p50": None, "p99": None, "max": None}
    assert math.isclose(summary([1.0, 3.0])["max"] or 0.0, 3.0)


@pytest.mark.slow
async def test_the_whole_program_at_a_rate() -> None:
    figures = await pipeline.run(2_000.0, 5.0, fast_lane=True, stall=False)
    assert figures["publications"] > 0
    assert figures["page_frames"] > 0
    assert figures["restarts"] == figures["missed"] == 0
    assert figures["largest_backlog"] <= figures["instruments"]
    assert all(audit["breaches"] == 0 for audit in figures["audits"].values())
    assert (
        figures["tick_to_browser_ms"]["p50"] > figures["tick_to_surface_ms"]["p50"] > figures["tick_to_row_ms"]["p50"]
    )
