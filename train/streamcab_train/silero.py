"""Silero VAD as a teacher: the probability of speech in each interval of clean clips. For training and benchmarks only.

Needs `pip install --no-deps silero-vad onnxruntime` (MIT): the model is in the wheel, and neither torchaudio nor
another torch is needed for it. Its net takes 32 ms at a time at 8 kHz.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError

RATE, CHUNK, CONTEXT = 8000, 256, 32


class Silero:
    """The net and its session, on one thread."""

    def __init__(self) -> None:
        spec = find_spec("silero_vad")
        if spec is None or spec.origin is None or find_spec("onnxruntime") is None:
            raise ConfigError("the teacher is missing: pip install --no-deps silero-vad onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = Path(spec.origin).parent / "data" / "silero_vad.onnx"
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def chunks(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities of speech of B clips of equal length, 8 kHz (B, n): (B, n // CHUNK)."""
        b, n = x.shape
        state = np.zeros((2, b, 128), np.float32)
        padded = np.pad(x, ((0, 0), (CONTEXT, 0)))
        out = np.zeros((b, n // CHUNK), np.float32)
        rate = np.array(RATE, np.int64)
        for k in range(n // CHUNK):
            piece = np.ascontiguousarray(padded[:, k * CHUNK : (k + 1) * CHUNK + CONTEXT])
            p, state = self._session.run(None, {"input": piece, "state": state, "sr": rate})
            out[:, k] = p[:, 0]
        return out

    def intervals(self, x: NDArray[np.float32], interval: int = 200) -> NDArray[np.float32]:
        """Return the same of each whole interval, (B, n // interval): of the chunk in which its middle lies."""
        chunks = self.chunks(np.pad(x, ((0, 0), (0, CHUNK))))
        middle = (np.arange(x.shape[1] // interval) * interval + interval // 2) // CHUNK
        return chunks[:, np.minimum(middle, chunks.shape[1] - 1)]
