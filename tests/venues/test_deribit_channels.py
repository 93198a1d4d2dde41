"""What may be asked of Deribit."""

import pytest

from volsurface.errors import VenueError
from volsurface.venues.deribit_channels import checked_channels


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
