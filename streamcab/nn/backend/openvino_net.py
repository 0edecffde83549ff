"""A network on OpenVINO, for whole clips and for backends on a CPU: graphs, each compiled when it is first asked for.

Needs no torch. See `Runtime`.
"""

from functools import cache
from threading import Lock
from typing import Any

import numpy as np

from streamcab.nn.backend import graph, whole
from streamcab.nn.backend.openvino import OpenVinoBackend
from streamcab.nn.backend.pieces import Floats
from streamcab.nn.backend.unreported import ov
from streamcab.nn.weights import Net

KEPT = 64
"""Kernels that OpenVINO keeps of the net for clips; without a limit, each new length takes 5 MB for good."""

Compiled = Any


@cache
def _core() -> Any:
    """Return the OpenVINO of this process, which is never let go.

    It gives the thread that makes it a stack for signals. If another thread let it go, that stack would be gone, and
    the next signal would end the process.
    """
    return ov.Core()


def has_bf16() -> bool:
    """Return whether this processor computes in bf16; otherwise bf16 would be slower than f32."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def bytes_are_exact() -> bool:
    """Return whether products of bytes are summed exactly: some processors cut sums of two of them off at 16 bits."""
    model, given, wanted = whole.probe()
    request = _core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1}).create_infer_request()
    request.infer([given])
    return bool((request.get_output_tensor(0).data == wanted).all())


class OpenVinoNet:
    """See Runtime.

    Args:
        net: whose weights are computed with, as they are now.
        precision: f32, or bf16: what passes between layers is rounded, and so is the state; answers stay float32.
        threads: parts of a step that run at a time, each on one thread: that scales better than more threads in one.
    """

    def __init__(self, net: Net, precision: str = "f32", threads: int = 1) -> None:
        self.architecture, self.threads = net.architecture, threads
        self._weights, self._precision = net.weights, precision
        self.state = graph.BF16 if precision == "bf16" else graph.FLOAT
        self._in_bytes = net.architecture.integers and bytes_are_exact()
        self._compiled: dict[tuple[object, ...], Compiled] = {}
        self._lock = Lock()

    def step(self, b: int, h: int) -> Compiled:
        """Return the steady step of b streams and h intervals: see graph.py."""
        return self._get(
            ("step", b, h),
            lambda: graph.step(self._weights, b, h, self.state, in_bytes=self._in_bytes),
            self._precision,
            self.threads if b > 1 else 1,
        )

    def edges(self, shape: tuple[int, int] | None = None, threads: int = 1) -> Compiled:
        """Return the step of streams near their start or end: of any shape, or faster of one shape (b, h)."""
        return self._get(
            ("edges", shape, threads),
            lambda: graph.edges(self._weights, *(shape or (-1, -1)), self.state, in_bytes=self._in_bytes),
            self._precision,
            threads,
        )

    def clip(self, x: Floats) -> Floats:
        """Compute one whole clip: x (T,) -> c, attention and u (T / interval, all three)."""
        if self._precision != "f32":
            return self._rounded_clip(x)
        compiled = self._get(("clip",), lambda: graph.clip(self._weights, in_bytes=self._in_bytes), kept=KEPT)
        request = compiled.create_infer_request()
        request.infer([np.ascontiguousarray(x)[None, None]])
        found: Floats = request.get_output_tensor(0).data[0].copy()
        return found

    def _rounded_clip(self, x: Floats) -> Floats:
        """Compute a clip as one step of a stream, so that it is rounded as in any other step."""
        arch = self.architecture
        n, one = len(x) // arch.interval, np.zeros(1, np.intp)
        padded = np.pad(x, (0, arch.delay * arch.interval))[None]
        step = OpenVinoBackend(self, 1).step(one, padded, one, np.array([n]))
        return np.concatenate(step, 2)[0, arch.delay :]

    def backend(self, slots: int) -> OpenVinoBackend:
        """See Runtime."""
        return OpenVinoBackend(self, slots)

    def _get(
        self,
        key: tuple[object, ...],
        make: Any,
        precision: str = "f32",
        threads: int = 1,
        kept: int | None = None,
    ) -> Compiled:
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = self._compile(make(), precision, threads, kept)
            return self._compiled[key]

    def _compile(self, model: Any, precision: str, threads: int, kept: int | None) -> Compiled:
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            # Processes that pin themselves would all pick the first core.
            "ENABLE_CPU_PINNING": False,
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
        }
        if kept is not None:
            settings["CPU_RUNTIME_CACHE_CAPACITY"] = kept
        # Without CACHE_DIR: it saves no time here, and sets the locale of the whole process while threads read it.
        return _core().compile_model(model, "CPU", settings)
