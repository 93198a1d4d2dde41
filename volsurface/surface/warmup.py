"""The kernels of this room with what compiles each, for a progress bar before they are needed."""

from collections.abc import Callable

from volsurface.pricing.kernel import DECLARED
from volsurface.surface import certificate_kernels, repair_kernels, slice_fit, worst_place

# Importing these has declared their kernels, and with them every kernel they call.
_HOMES = tuple(module.__name__ for module in (slice_fit, certificate_kernels, repair_kernels, worst_place))
KERNELS: list[tuple[str, Callable[[], None]]] = [
    (declared.name, declared.compile) for declared in DECLARED if declared.name.startswith(_HOMES)
]
