"""Compiles every kernel the program uses into the on-disk cache, one after the other, saying how far it is.

The two that the free fit needs come first, so that a page can show something while the others are compiled.
"""

from collections.abc import Callable

from volsurface.pricing.warmup import KERNELS as PRICING
from volsurface.surface.warmup import KERNELS as SURFACE

FREE_FIT = ("volsurface.pricing.batch.solve", "volsurface.surface.slice_fit.fit_slices")


def compile_kernels(progress: Callable[[int, int, str], None] = lambda done, total, name: None) -> int:
    """Compile or load all kernels; `progress(done, total, name)` is called before each. Return how many there are."""
    kernels = sorted([*PRICING, *SURFACE], key=lambda kernel: kernel[0] not in FREE_FIT)
    for done, (name, compile_one) in enumerate(kernels):
        progress(done, len(kernels), name)
        compile_one()
    progress(len(kernels), len(kernels), "ready")
    return len(kernels)
