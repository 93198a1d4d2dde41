"""Three machine instructions that Numba does not offer by name: fused multiply-add and the bits of a float64, both ways."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def _fma(typing, a, b, c):
    """Return a*b + c with one rounding."""

    def build(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), build


@intrinsic
def _bits(typing, a):
    """Return the 64 bits of a float64 as an int64."""

    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), build


@intrinsic
def _unbits(typing, a):
    """Return the float64 that has these 64 bits."""

    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), build


# Numba supplies `typing` itself, which a type checker cannot know.
fma: Any = _fma
bits: Any = _bits
unbits: Any = _unbits
