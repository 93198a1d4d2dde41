"""Numbers as text: exactly what JSON calls a number, within bounds, or one of the words for none."""

import msgspec
import pytest

from volsurface.venues.text_numbers import Level, Milliseconds, Number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"0.0195"', 0.0195), ("0.0195", 0.0195), ('"6.4e4"', 64000.0), ('"1.95E-2"', 0.0195), ('"0"', 0.0), ('""', ""),
        ("null", None), ('"999999999999999"', 999999999999999.0),
    ],
)  # fmt: skip
def test_numbers(text, value):
    assert msgspec.json.Decoder(Number, strict=False).decode(text) == value


@pytest.mark.parametrize(
    "text",
    ['"1_0"', '" 5"', '"0x10"', '"nan"', '"inf"', '"-1"', "-1", '"1e999"', '"1e15"', '"x"', '".5"', "true", "[]"],
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.Decoder(Number, strict=False).decode(text)


def test_times_fit_a_row():
    decode = msgspec.json.Decoder(Milliseconds, strict=False).decode
    assert decode('"1734422400000"') == decode("1734422400000") == 1_734_422_400_000
    for text in ('"-1"', '"9000000000001"', '"1.5"', '""', "null"):
        with pytest.raises(msgspec.DecodeError):
            decode(text)


def test_levels_have_a_price_and_a_size_and_may_have_more():
    decode = msgspec.json.Decoder(list[Level], strict=False).decode
    assert decode('[["0.038","200","0","1"],[5,0]]') == [Level(0.038, 200.0), Level(5.0, 0.0)]
