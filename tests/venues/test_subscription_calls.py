"""Calls at a venue's pace: answered in whole, in part, refused, halved, repeated, or never answered."""

import pytest

from volsurface.venues.pacing import Pace, Timers
from volsurface.venues.subscription_calls import ANSWER_S, MAX_TRIES, SubscriptionCalls
from volsurface.venues.subscriptions import Subscriptions

S = 1_000_000_000


class Made:
    """Calls over recorded frames: `sent` holds (call id, operation, channels)."""

    def __init__(self, channels="abcd", per_call=10, interval_ns=S, burst=10):
        self.subscriptions = Subscriptions(per_call)
        self.timers = Timers()
        self.sent = []
        self.calls = SubscriptionCalls(self.subscriptions, self.timers, lambda *call: self.sent.append(call))
        self.calls.reset(Pace(interval_ns, burst))
        for channel in channels:
            self.subscriptions.want(channel)

    @property
    def confirmed(self):
        return "".join(self.subscriptions.confirmed)


def test_calls_keep_to_the_pace_and_say_how_long_to_wait():
    made = Made("abcde", per_call=2, burst=2)
    assert made.calls.make(0) == S
    assert [call[2] for call in made.sent] == [["a", "b"], ["c", "d"]]
    assert made.timers.pop(S) == ("pace", None)
    assert made.calls.make(S) == 0
    assert made.sent[-1] == (3, "subscribe", ["e"])


def test_answers_channel_by_channel():
    made = Made("abc")
    made.calls.make(0)
    assert made.calls.answered(1, ["a"]) == (["a"], [])
    assert made.calls.answered(1, [], ["b"]) == ([], ["b"])
    assert made.calls.answered(1, ["a", "z"]) == ([], [])  # told before, and never asked for
    assert not made.calls.complete
    assert made.calls.answered(1, ["c"]) == (["c"], [])
    assert made.calls.complete
    assert (made.confirmed, made.timers.next_ns()) == ("ac", None)


def test_the_oldest_call_about_a_channel_is_answered_first():
    made = Made("a")
    made.calls.make(0)
    made.calls.answered(1, ["a"])
    made.subscriptions.renew("a")
    made.calls.make(0)
    assert [call[1] for call in made.sent] == ["subscribe", "unsubscribe", "subscribe"]
    assert made.calls.waiting_for("a") == 2
    assert made.calls.answered(2, ["a"]) == ([], [])  # an unsubscribe confirms nothing
    assert made.calls.waiting_for("a") == 3
    assert made.calls.answered(3, ["a"]) == (["a"], [])
    assert made.calls.waiting_for("a") is None


@pytest.mark.parametrize("bad", range(11))
def test_halving_finds_the_one_bad_channel(bad):
    channels = "abcdefghijk"
    made = Made(channels, per_call=100, interval_ns=1, burst=100)
    refused = []
    while not made.calls.complete:
        made.calls.make(0)
        call_id, _, asked = made.sent[-1]
        for call_id, _, asked in list(made.sent):
            if made.calls.get(call_id) is None:
                continue
            if channels[bad] in asked:
                refused += made.calls.halve(call_id)
            else:
                made.calls.answered(call_id, asked)
    assert refused == [channels[bad]]
    assert sorted(made.confirmed) == sorted(set(channels) - {channels[bad]})
    assert len(made.sent) <= 9


def test_a_channel_left_in_the_meantime_is_not_asked_for_again():
    made = Made("ab")
    made.calls.make(0)
    made.subscriptions.leave("a")
    made.calls.make(0)
    made.calls.halve(1)
    made.calls.make(0)
    assert made.sent[2:] == []
    assert made.calls.complete is True


def test_a_repeated_call_waits_for_its_turn():
    made = Made("ab")
    made.calls.make(0)
    made.calls.penalise(5 * S)
    made.calls.repeat(1)
    assert made.calls.make(0) == 5 * S
    assert made.calls.make(5 * S) == 0
    assert made.sent[-1] == (2, "subscribe", ["a", "b"])


def test_silence_is_asked_about_again_and_at_last_taken_for_a_refusal():
    made = Made("ab")
    now_ns = 0
    for tries in range(1, MAX_TRIES + 1):
        made.calls.make(now_ns)
        now_ns += ANSWER_S * S
        assert made.timers.pop(now_ns) == ("answer", tries)
        if tries == 1:
            made.calls.answered(1, ["a"])
        assert made.calls.overdue(tries) == (1, ["b"] if tries == MAX_TRIES else [])
    assert made.calls.complete
    assert made.calls.overdue(99) == (0, [])
