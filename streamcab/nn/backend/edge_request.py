"""A step of streams near their start or end, with its buffers: the graph is told what lies beyond each stream.

Knows nothing of which streams there are, or of what is compiled when.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.architecture import Architecture
from streamcab.nn.backend import state
from streamcab.nn.backend.pieces import Floats, Ints
from streamcab.nn.backend.rings import Rings
from streamcab.nn.backend.unreported import ov


class EdgeRequest:
    """A Piece of `size` streams and any number of intervals; computed `elsewhere` or by the caller.

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
        self._request, self._arch, self._elsewhere = compiled.create_infer_request(), arch, elsewhere
        self._rows, self._rings, self._size = rows, rings, size
        self._kind = compiled.inputs[1].element_type
        self._before = np.zeros((size, rows.shape[1]), rows.dtype)
        self._contexts = rings.buffers(size)
        self._slots = np.zeros(0, np.intp)
        for i, kept in enumerate((self._before, *self._contexts), 1):
            self._request.set_input_tensor(i, ov.Tensor(kept, ov.Shape(kept.shape), self._kind))
        self._masks_at = 2 + len(self._contexts)

    def start(self, slots: Ints, x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        """See Piece; first and end (B,) as in Backend."""
        self._slots = slots
        filled = np.minimum(np.arange(self._size), len(slots) - 1)
        h, padded = x.shape[1] // self._arch.interval, slots[filled]
        np.take(self._rows, padded, axis=0, out=self._before, mode="clip")
        self._rings.read(padded, self._contexts)
        self._request.set_input_tensor(0, ov.Tensor(np.ascontiguousarray(x[filled])))
        for i, mask in enumerate(state.insides(self._arch, first[filled], end[filled], h), self._masks_at):
            self._request.set_input_tensor(i, ov.Tensor(mask))
        if self._elsewhere:
            self._request.start_async()
        else:
            self._request.infer()

    def wait(self) -> None:
        """Wait until it is computed."""
        if self._elsewhere:
            self._request.wait()

    def result(self) -> Floats:
        """See Piece. The state is then the new one."""
        self.wait()
        n = len(self._slots)
        answer, *kept = (tensor.data for tensor in self._request.output_tensors)
        after, *news = (a[:n].view(self._rows.dtype) for a in kept)
        self._rows[self._slots] = after
        self._rings.write(self._slots, news)
        found: Floats = answer[:n]
        return found
