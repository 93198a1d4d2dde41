"""Channels: what may be asked for, and the book-keeping between asking and confirmation."""

import pytest

from volsurface.errors import VenueError
from volsurface.venues.deribit_channels import MAX_CHANNELS, Subscriptions, checked_channels


def test_channels_once_each_in_order():
    assert checked_channels(["book", "ticker", "book"]) == ("book", "ticker")


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        (["tickr"], "did you mean 'ticker'"),
        (["book", "quote"], "not for both"),
        (["markprice", "ticker"], "not for both"),
        ([], "no channel"),
    ],
)
def test_channels_that_cannot_be_asked_for(channels, words):
    with pytest.raises(VenueError, match=words):
        checked_channels(channels)


def test_wanting_twice_asks_once():
    subscriptions = Subscriptions()
    for channel in ("a", "b", "a"):
        subscriptions.want(channel)
    assert subscriptions.next_call() == ("public/subscribe", ["a", "b"])
    subscriptions.want("a")
    assert not subscriptions.waiting
    assert not subscriptions.complete
    assert subscriptions.answered(["a", "b"], ["b"]) == ["a"]
    assert subscriptions.complete
    assert list(subscriptions.confirmed) == ["b"]


def test_calls_are_cut_at_the_limit():
    subscriptions = Subscriptions()
    for n in range(MAX_CHANNELS + 1):
        subscriptions.want(f"c{n}")
    assert [len(subscriptions.next_call()[1]) for _ in range(2)] == [MAX_CHANNELS, 1]


def test_leaving_before_asking_sends_nothing():
    subscriptions = Subscriptions()
    subscriptions.want("a")
    subscriptions.leave("a")
    assert not subscriptions.waiting


def test_an_answer_that_comes_after_leaving_is_not_counted():
    subscriptions = Subscriptions()
    subscriptions.want("a")
    subscriptions.next_call()
    subscriptions.leave("a")
    assert subscriptions.next_call() == ("public/unsubscribe", ["a"])
    assert subscriptions.answered(["a"], ["a"]) == []
    assert not subscriptions.confirmed
    assert subscriptions.complete


def test_renewing_unsubscribes_first():
    subscriptions = Subscriptions()
    subscriptions.want("a")
    subscriptions.answered(subscriptions.next_call()[1], ["a"])
    subscriptions.renew("a")
    assert [subscriptions.next_call() for _ in range(2)] == [("public/unsubscribe", ["a"]), ("public/subscribe", ["a"])]
    assert not subscriptions.confirmed


def test_asking_again_skips_what_was_left():
    subscriptions = Subscriptions()
    for channel in ("a", "b"):
        subscriptions.want(channel)
    asked = subscriptions.next_call()[1]
    subscriptions.leave("a")
    subscriptions.next_call()
    subscriptions.ask_again(asked)
    assert subscriptions.next_call() == ("public/subscribe", ["b"])


def test_giving_up_completes():
    subscriptions = Subscriptions()
    subscriptions.want("a")
    subscriptions.give_up(subscriptions.next_call()[1])
    assert subscriptions.complete
    assert not subscriptions.waiting
