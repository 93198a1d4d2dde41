"""Listings over REST: pages, failures, and answers that nobody waits for any more."""

import msgspec
import pytest

from volsurface.venues.codec import HttpRequest
from volsurface.venues.rest_listing import LONGEST_PAUSE_S, MAX_PAGES, Answer, Page, RestListing

S = 1_000_000_000
MALFORMED = (msgspec.DecodeError,)


def read(body):
    """A page is ["next cursor", [entries]], a refusal is {"refused": passing}."""
    told = msgspec.json.decode(body)
    if isinstance(told, dict):
        return Page([], refusal="refused", passing=told["refused"])
    return Page([msgspec.Raw(msgspec.json.encode(each)) for each in told[1]], told[0])


def listing(**options):
    return RestListing(lambda name, cursor: f"http://x/{name}?{cursor}", read, MALFORMED, **options)


def only_request(rest):
    (request,) = rest.requests()
    return request


def test_pages_follow_one_another_and_make_one_answer():
    rest = listing()
    first = rest.ask("BTC")
    assert only_request(rest) == HttpRequest(first, "http://x/BTC?")
    second = rest.answered(first, 200, b'["c2",[1,2]]', 0)
    assert only_request(rest) == HttpRequest(second, "http://x/BTC?c2")
    answer = rest.answered(second, 200, b'["",[3]]', 0)
    assert answer == Answer("BTC", [msgspec.Raw(b"1"), msgspec.Raw(b"2"), msgspec.Raw(b"3")])
    assert rest.requests() == []


def test_failures_pause_longer_and_longer_until_one_succeeds():
    rest = listing()
    pauses = []
    for _ in range(9):
        answer = rest.answered(rest.ask("BTC"), 500, b"", 0)
        pauses.append(answer.retry_ns // S)
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    rest.answered(rest.ask("BTC"), 200, b'["",[]]', 0)
    assert rest.answered(rest.ask("BTC"), 500, b"", 0).retry_ns == S


@pytest.mark.parametrize(
    ("status", "body", "failure", "retried"),
    [
        (0, b"no route", "not reached: no route", True),
        (404, b"gone", "HTTP 404: gone", True),
        (200, b"[", "Input data was truncated: [", True),
        (200, b'{"refused":true}', "refused", True),
        (200, b'{"refused":false}', "refused", False),
    ],
)
def test_each_failure_has_its_reason(status, body, failure, retried):
    rest = listing()
    answer = rest.answered(rest.ask("BTC"), status, body, 5 * S)
    assert (answer.name, answer.entries, answer.failure) == ("BTC", [], failure)
    assert answer.retry_ns == (6 * S if retried else 0)


def test_a_venue_that_blocks_is_left_alone_for_as_long_as_it_says():
    rest = listing(blocked_s={403: 600})
    assert rest.answered(rest.ask("BTC"), 403, b"", 0).retry_ns == 600 * S


def test_no_listing_has_pages_without_end():
    rest = listing()
    told = rest.ask("BTC")
    for _ in range(MAX_PAGES):
        told = rest.answered(told, 200, b'["more",[1]]', 0)
    assert told.failure == f"no end after {MAX_PAGES} pages"


def test_nobody_waits_for_an_answer_to_what_was_asked_again_or_forgotten():
    rest = listing()
    first = rest.ask("BTC")
    second = rest.ask("BTC")
    assert [request.tag for request in rest.requests()] == [second]  # the first was never sent
    assert rest.answered(first, 200, b'["",[]]', 0) is None
    rest.forget()
    assert rest.answered(second, 200, b'["",[]]', 0) is None
    assert rest.answered("nonsense", 200, b"", 0) is None


def test_a_request_that_waits_too_long_has_failed():
    rest = listing()
    tag = rest.ask("BTC")
    assert rest.unanswered(tag, 30, 0) == Answer("BTC", [], "no answer in 30 s", S)
    assert rest.unanswered(tag, 30, 0) is None
    assert rest.requests() == []
