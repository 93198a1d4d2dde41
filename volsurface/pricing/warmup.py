"""The kernels of this room with what compiles each, for a progress bar before they are needed."""

from collections.abc import Callable

from volsurface.pricing import batch, black76, greeks
from volsurface.pricing.kernel import DECLARED

# Importing these has declared their kernels, callees before callers, with the signatures that production uses.
_HOMES = (batch.__name__, black76.__name__, greeks.__name__)
KERNELS: list[tuple[str, Callable[[], None]]] = [
    (declared.name, declared.compile) for declared in DECLARED if declared.name.startswith(_HOMES)
]
