"""The words for channels."""

import pytest

from volsurface.errors import VenueError
from volsurface.venues.channel_words import WORDS, checked_words, unserved


def test_each_word_once_in_order():
    assert checked_words("okx", ["trades", "ticker", "trades"]) == ("trades", "ticker")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["tickr"], "okx: unknown channel 'tickr'; did you mean 'ticker'"),
        (["book", "quote"], "not for both"),
        ([], "no channel"),
    ],
)
def test_words_that_cannot_be_asked_for(words, why):
    with pytest.raises(VenueError, match=why):
        checked_words("okx", words)


def test_what_is_not_served_is_named_with_what_is():
    assert unserved(("ticker", "markprice", "quote"), ("ticker", "book")) == (
        "no channel for markprice, quote; it has: ticker, book"
    )
    assert unserved(("ticker",), WORDS) == ""
