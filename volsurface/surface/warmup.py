"""The kernels of this room with what compiles each, for a progress bar before they are needed."""

from collections.abc import Callable

from volsurface.pricing.kernel import DECLARED
from volsurface.surface import repair_kernels, slice_fit, worst_place

# Importing the three modules above has declared their kernels, and with them every kernel they call.
_HOMES = (slice_fit.__name__, worst_place.__name__, repair_kernels.__name__)
KERNELS: list[tuple[str, Callable[[], None]]] = [
    (declared.name, declared.compile) for declared in DECLARED if declared.name.startswith(_HOMES)
]
