"""A step of streams near their start or end, with its buffers: the graph is told what lies beyond each stream.

Knows nothing of which streams there are, or of what is compiled when.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.architecture import FOREVER, Architecture
from streamcab.nn.backend import state
from streamcab.nn.backend.pieces import EdgeBatch
from streamcab.nn.backend.request import Request
from streamcab.nn.backend.rings import Rings
from streamcab.nn.backend.unreported import ov


class EdgeRequest(Request):
    """A Piece of `size` streams and any number of intervals.

    One that is not full computes its last stream again: each number of streams takes OpenVINO ten milliseconds when it
    is met first.
    """

    def __init__(
        self,
        compiled: Any,
        arch: Architecture,
        rows: NDArray[Any],
        rings: Rings,
        size: int,
        *,
        elsewhere: bool,
    ) -> None:
        super().__init__(compiled, rows, rings, elsewhere=elsewhere)
        self._arch, self._size = arch, size
        self._kind = compiled.inputs[1].element_type
        self._contexts = rings.buffers(size)
        self._inputs: list[Any] = []

    def start(self, batch: EdgeBatch) -> None:
        """See Piece."""
        self._slots = batch.slots
        filled = np.minimum(np.arange(self._size), len(batch.slots) - 1)
        h, padded = batch.x.shape[1] // self._arch.interval, batch.slots[filled]
        self._rings.read(padded, self._contexts)
        kept = [ov.Tensor(a, ov.Shape(a.shape), self._kind) for a in (self._rows[padded], *self._contexts)]
        inside = state.insides(self._arch, batch.first[filled], np.minimum(batch.end[filled], FOREVER), h)
        # What is computed elsewhere reads these until it is done.
        self._inputs = [np.ascontiguousarray(batch.x[filled]), *kept, *inside]
        self._compute(self._inputs)

    def _outputs(self) -> Sequence[NDArray[Any]]:
        answer, *kept = (tensor.data for tensor in self._request.output_tensors)
        return [answer, *(a.view(self._rows.dtype) for a in kept)]
