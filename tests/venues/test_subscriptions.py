"""The book-keeping between wanting a channel and its confirmation."""

from volsurface.venues.subscriptions import Subscriptions


def test_wanting_twice_asks_once():
    subscriptions = Subscriptions(per_call=500)
    for channel in ("a", "b", "a"):
        subscriptions.want(channel)
    assert subscriptions.next_call() == ("subscribe", ["a", "b"])
    subscriptions.want("a")
    assert not subscriptions.waiting
    assert not subscriptions.complete
    assert subscriptions.answered(["a", "b"], ["b"]) == ["a"]
    assert subscriptions.complete
    assert list(subscriptions.confirmed) == ["b"]


def test_calls_are_cut_at_the_limit():
    subscriptions = Subscriptions(per_call=500)
    for n in range(500 + 1):
        subscriptions.want(f"c{n}")
    assert [len(subscriptions.next_call()[1]) for _ in range(2)] == [500, 1]


def test_leaving_before_asking_sends_nothing():
    subscriptions = Subscriptions(per_call=500)
    subscriptions.want("a")
    subscriptions.leave("a")
    assert not subscriptions.waiting


def test_an_answer_that_comes_after_leaving_is_not_counted():
    subscriptions = Subscriptions(per_call=500)
    subscriptions.want("a")
    subscriptions.next_call()
    subscriptions.leave("a")
    assert subscriptions.next_call() == ("unsubscribe", ["a"])
    assert subscriptions.answered(["a"], ["a"]) == []
    assert not subscriptions.confirmed
    assert subscriptions.complete


def test_renewing_unsubscribes_first():
    subscriptions = Subscriptions(per_call=500)
    subscriptions.want("a")
    subscriptions.answered(subscriptions.next_call()[1], ["a"])
    subscriptions.renew("a")
    assert [subscriptions.next_call() for _ in range(2)] == [("unsubscribe", ["a"]), ("subscribe", ["a"])]
    assert not subscriptions.confirmed


def test_asking_again_skips_what_was_left():
    subscriptions = Subscriptions(per_call=500)
    for channel in ("a", "b"):
        subscriptions.want(channel)
    asked = subscriptions.next_call()[1]
    subscriptions.leave("a")
    subscriptions.next_call()
    subscriptions.ask_again(asked)
    assert subscriptions.next_call() == ("subscribe", ["b"])


def test_giving_up_completes():
    subscriptions = Subscriptions(per_call=500)
    subscriptions.want("a")
    subscriptions.give_up(subscriptions.next_call()[1])
    assert subscriptions.complete
    assert not subscriptions.waiting
