"""Numbers that venues write as text, decoded without a detour through Python strings.

msgspec's lax mode reads "0.0195" by the rules of a JSON number, so that "1_0", " 5" or "0x1" are refused; a bound in the
type refuses "nan", "inf" and what no price or size can be, before any Python sees it. A decoder for these types must be
made with `strict=False`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_MILLISECONDS = 9_000_000_000_000  # in the year 2255; as nanoseconds it still fits 64 bits

# A price, size or vol; 0, "" and null all mean that there is none: `number or NAN`.
Number = Annotated[float, Meta(ge=0, lt=1e15)] | Literal[""] | None
Positive = Annotated[float, Meta(gt=0, lt=1e15)]
NotNegative = Annotated[float, Meta(ge=0, lt=1e15)]
Milliseconds = Annotated[int, Meta(ge=0, le=MAX_MILLISECONDS)]
Sequence = Annotated[int, Meta(ge=-1, lt=1 << 62)]


class Level(Struct, array_like=True, gc=False):
    """The first two values of a book's level; a size of 0 deletes it, and what a venue adds behind is passed over."""

    price: Positive
    size: NotNegative
