"""Rate limits and timers, against slow twins that are easy to believe."""

from hypothesis import given
from hypothesis import strategies as st

from volsurface.venues.pacing import Pace, Timers


@given(
    interval=st.integers(1, 50),
    burst=st.integers(1, 6),
    waits=st.lists(st.integers(0, 120), max_size=60),
)
def test_pace_allows_exactly_what_a_bucket_of_tokens_allows(interval, burst, waits):
    pace, now = Pace(interval, burst), 1000
    tokens, counted_at = burst * interval, now  # in units of 1/interval token
    for wait in waits:
        now += wait
        tokens, counted_at = min(burst * interval, tokens + now - counted_at), now
        allowed = tokens >= interval
        assert (pace.ready_ns() <= now) == allowed
        if allowed:
            tokens -= interval
            pace.spend(now)


def test_a_penalty_empties_the_bucket():
    pace = Pace(10, 5)
    pace.penalise(1000)
    assert pace.ready_ns() == 1000
    pace.spend(1000)
    assert pace.ready_ns() == 1010


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "cancel", "pop"]), st.sampled_from("abcd"), st.integers(0, 20)), max_size=80
    )
)
def test_timers_against_a_dictionary(steps):
    timers, twin, count = Timers(), {}, 0
    for step, key, number in steps:
        if step == "set":
            count += 1
            if key not in twin or twin[key][0] != number:
                twin[key] = (number, count)
            timers.set(number, "kind", key)
        elif step == "cancel":
            twin.pop(key, None)
            timers.cancel("kind", key)
        else:
            due = min(((when, key) for key, when in twin.items() if when[0] <= number), default=None)
            popped = timers.pop(number)
            assert popped == (None if due is None else ("kind", due[1]))
            if due is not None:
                del twin[due[1]]
        assert timers.next_ns() == min((when[0] for when in twin.values()), default=None)


def test_cleared_timers_are_gone():
    timers = Timers()
    timers.set(5, "a")
    timers.clear()
    assert timers.next_ns() is None
    assert timers.pop(10) is None
