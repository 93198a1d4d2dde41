"""Compiles every kernel the program uses into the on-disk cache, one after the other, saying how far it is."""

from collections.abc import Callable

from volsurface.pricing.warmup import KERNELS as PRICING
from volsurface.surface.warmup import KERNELS as SURFACE


def compile_kernels(progress: Callable[[int, int, str], None] = lambda done, total, name: None) -> int:
    """Compile or load all kernels; `progress(done, total, name)` is called before each. Return how many there are."""
    kernels = [*PRICING, *SURFACE]
    for done, (name, compile_one) in enumerate(kernels):
        progress(done, len(kernels), name)
        compile_one()
    progress(len(kernels), len(kernels), "ready")
    return len(kernels)
