"""One compiled step with its buffers: gathers the state of streams, computes, and scatters the new state.

Knows nothing of which streams there are, or of what is compiled when.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.backend import graph
from streamcab.nn.backend.pieces import Floats, Ints
from streamcab.nn.backend.rings import Rings
from streamcab.nn.backend.unreported import ov


class Request:
    """A Piece of a compiled shape, on rows of state and rings; computed `elsewhere` or by the caller."""

    def __init__(self, compiled: Any, rows: NDArray[Any], rings: Rings, *, elsewhere: bool) -> None:
        self._request, self._elsewhere = compiled.create_infer_request(), elsewhere
        self._rows, self._rings = rows, rings
        self._slots = np.zeros(0, np.intp)
        inputs = [self._buffer(port, rows.dtype) for port in compiled.inputs]
        outputs = [self._buffer(port, rows.dtype) for port in compiled.outputs]
        for i, (_, tensor) in enumerate(inputs):
            self._request.set_input_tensor(i, tensor)
        for i, (_, tensor) in enumerate(outputs):
            self._request.set_output_tensor(i, tensor)
        self._x, self._before, *self._contexts = (buffer for buffer, _ in inputs)
        self._answer, self._after, *self._news = (buffer for buffer, _ in outputs)

    @staticmethod
    def _buffer(port: Any, bits: Any) -> tuple[NDArray[Any], Any]:
        """An array, and the same memory as a tensor for a port; `bits`: what numpy takes for bf16."""
        kind = port.element_type
        array = np.zeros(port.shape, bits if kind == graph.BF16 else np.float32)
        return array, ov.Tensor(array, port.shape, kind)

    def start(self, slots: Ints, x: Floats) -> None:
        """See Piece."""
        self._slots, n = slots, len(slots)
        np.take(self._rows, slots, axis=0, out=self._before[:n], mode="clip")
        self._rings.read(slots, [context[:n] for context in self._contexts])
        self._x[:n] = x
        if self._elsewhere:
            self._request.start_async()
        else:
            self._request.infer()

    def result(self) -> Floats:
        """See Piece. The state is then the new one."""
        if self._elsewhere:
            self._request.wait()
        n = len(self._slots)
        self._rows[self._slots] = self._after[:n]
        self._rings.write(self._slots, [new[:n] for new in self._news])
        return self._answer[:n]
