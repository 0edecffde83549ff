"""One compiled step with its buffers: gathers the state of streams, computes, and scatters the new state.

Knows nothing of which streams there are, or of what is compiled when.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.backend import graph
from streamcab.nn.backend.pieces import Batch, Floats, Ints
from streamcab.nn.backend.rings import Rings
from streamcab.nn.backend.unreported import ov


class Request(ABC):
    """A request to a compiled step, on rows of state and rings; computed `elsewhere` or by the caller."""

    def __init__(self, compiled: Any, rows: NDArray[Any], rings: Rings, *, elsewhere: bool) -> None:
        self._request, self._elsewhere = compiled.create_infer_request(), elsewhere
        self._rows, self._rings = rows, rings
        self._slots: Ints = np.zeros(0, np.intp)

    def _compute(self, inputs: Sequence[Any] | None = None) -> None:
        """Begin to compute `inputs`, or what the request's own buffers hold."""
        (self._request.start_async if self._elsewhere else self._request.infer)(inputs)

    @abstractmethod
    def _outputs(self) -> Sequence[NDArray[Any]]:
        """Return the answer, the new rows, and what is new in each ring, of at least as many streams as were given."""

    def wait(self) -> None:
        """Wait until it is computed."""
        if self._elsewhere:
            self._request.wait()

    def result(self) -> Floats:
        """See Piece. The state is then the new one."""
        self.wait()
        n = len(self._slots)
        answer, after, *news = (output[:n] for output in self._outputs())
        self._rows[self._slots] = after
        self._rings.write(self._slots, news)
        found: Floats = answer
        return found


class StepRequest(Request):
    """A Piece of a compiled shape, for streams in mid-course."""

    def __init__(self, compiled: Any, rows: NDArray[Any], rings: Rings, *, elsewhere: bool) -> None:
        super().__init__(compiled, rows, rings, elsewhere=elsewhere)
        inputs = [self._buffer(port) for port in compiled.inputs]
        outputs = [self._buffer(port) for port in compiled.outputs]
        for i, (_, tensor) in enumerate(inputs):
            self._request.set_input_tensor(i, tensor)
        for i, (_, tensor) in enumerate(outputs):
            self._request.set_output_tensor(i, tensor)
        self._x, self._before, *self._contexts = (buffer for buffer, _ in inputs)
        self._out = [buffer for buffer, _ in outputs]

    def _buffer(self, port: Any) -> tuple[NDArray[Any], Any]:
        """Return an array, and the same memory as a tensor for a port; bf16 is what the rows hold it as."""
        kind = port.element_type
        array = np.zeros(port.shape, self._rows.dtype if kind == graph.BF16 else np.float32)
        return array, ov.Tensor(array, port.shape, kind)

    def start(self, batch: Batch) -> None:
        """See Piece."""
        self._slots, n = batch.slots, len(batch.slots)
        np.take(self._rows, batch.slots, axis=0, out=self._before[:n], mode="clip")
        self._rings.read(batch.slots, [context[:n] for context in self._contexts])
        self._x[:n] = batch.x
        self._compute()

    def _outputs(self) -> Sequence[NDArray[Any]]:
        return self._out
