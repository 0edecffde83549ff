"""The backend for CPUs: graphs that OpenVINO compiles, once for each shape that is needed. Needs no torch.

Knows nothing of which streams exist, of audio, or of votes.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import Lock, Thread, get_native_id, main_thread
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.architecture import FOREVER
from streamcab.nn.backend import graph, state, whole
from streamcab.nn.backend.memory import MANY, keep_freed_memory
from streamcab.nn.backend.pieces import (
    RUNS,
    WASTE,
    Answer,
    Floats,
    Ints,
    Pieces,
    RoundRobin,
    State,
    Step,
)
from streamcab.nn.backend.request import Request
from streamcab.nn.backend.rings import Rings
from streamcab.nn.backend.unreported import ov
from streamcab.nn.weights import Net

STREAMS = (32, 8, 2, 1)
"""Streams of the compiled shapes. Eight run at full speed already; 32 save Python's work, and still fit the cache."""
MOST = 256
"""Streams times intervals of a shape at most: what is larger does not fit the cache."""

KEPT = 64
"""Kernels that OpenVINO keeps of the net for clips; without a limit, each new length takes 5 MB for good."""
MIDDLE = 8
"""Streams, and intervals, of the shapes that do for most steps until others are compiled."""
FIRST = 2
"""Shapes that a server waits for before it begins: without them its first streams would find it too slow."""
BEHIND = 10
"""Niceness of what compiles while streams are answered."""

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
    """See Runtime. The graphs of a net, each compiled when it is first asked for.

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
        """The steady step of b streams and h intervals: see graph.py."""
        # A lone stream computes on the caller's thread: another one costs 30 us to wake.
        threads = self.threads if b > 1 else 1
        return self._get(
            ("step", b, h),
            lambda: graph.step(self._weights, b, h, self.state, in_bytes=self._in_bytes),
            self._precision,
            threads,
        )

    def edges(self, shape: tuple[int, int] | None = None) -> Compiled:
        """The step of streams near their start or end: of any shape, or faster of one shape (b, h)."""
        return self._get(
            ("edges", shape),
            lambda: graph.edges(self._weights, *(shape or (-1, -1)), self.state, in_bytes=self._in_bytes),
            self._precision,
        )

    def clip(self, x: Floats) -> Floats:
        """One whole clip: x (T,) -> c, attention and u (T / interval, all three)."""
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

    def backend(self, slots: int) -> "OpenVinoBackend":
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


class OpenVinoBackend:
    """See Backend. State is one row of float32 for each slot, and rings for the trunk.

    Streams in mid-course, which is nearly all of them, go through graphs of fixed shapes; those near their start or
    end through one that is told what lies beyond a stream's edges.
    """

    def __init__(self, net: OpenVinoNet, slots: int) -> None:
        if slots >= MANY:
            keep_freed_memory()
        self._net, self._architecture = net, net.architecture
        arch = net.architecture
        fresh = state.fresh(arch)
        # Zeros and infinities: in bf16 they are the same, without their lower half.
        self._fresh = fresh if net.state == graph.FLOAT else (fresh.view(np.uint32) >> 16).astype(np.uint16)
        self._rows = np.tile(self._fresh, (slots, 1))
        contexts = [b.context for b in arch.trunk]
        self._rings = Rings(slots, contexts, arch.stages[-1].filters, RUNS[0], self._fresh.dtype)
        # One more: what lies before a stream is convolved again in the step after.
        self._begun = arch.delay + 1
        self._widths = net.architecture.widths
        self._all_sizes = sorted({min(b, slots) for b in STREAMS}, reverse=True)
        self._requests: dict[tuple[int, int], RoundRobin[Request]] = {}
        self._at_edges: dict[tuple[int, int] | None, Any] = {}
        self._pieces = Pieces(slots)
        self._preparing = False

    def prepare(self, *, wait: bool = True) -> None:
        """See Backend. Without it shapes compile as they come, a tenth of a second each."""
        self._net.edges()
        if wait:
            for b, h in self._order():
                self._shape(b, h)
        else:
            self._preparing = True
            if len(self._rows) >= MANY:
                for b, h in self._order()[:FIRST]:
                    self._shape(b, h)
            Thread(target=_compile_behind, args=(ref(self),), name="openvino").start()

    def _order(self) -> list[tuple[int, int]]:
        """Return the shapes (b, h) to compile, the most useful first."""
        shapes = [(b, h) for h in RUNS for b in self._sizes(h)]
        return sorted(shapes, key=lambda shape: [(n != MIDDLE, -n) for n in shape])

    def _meet_edges(self) -> None:
        """Shapes that OpenVINO meets here take a stream no time: the first of each costs tens of milliseconds."""
        request, interval = self._net.edges().create_infer_request(), self._architecture.interval
        for h in RUNS:
            for b in self._sizes(h):
                first = np.zeros(b, np.int64)
                inside = state.insides(self._architecture, first, first + FOREVER, h)
                x, contexts = np.zeros((b, h * interval), np.float32), self._rings.buffers(b)
                kept = [self._tensor(a) for a in (self._rows[:b], *map(np.zeros_like, contexts))]
                request.infer([x, *kept, *inside])

    def _sizes(self, h: int) -> list[int]:
        """Return the compiled numbers of streams for h intervals, falling."""
        return [b for b in self._all_sizes if b == 1 or b * h <= MOST]

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream's state in the net."""
        return self._fresh.nbytes + self._rings.bytes_per_slot

    def reset(self, slots: Ints) -> None:
        """See Backend."""
        self._pieces.settle(slots)
        self._rows[slots] = self._fresh
        self._rings.reset(slots)

    def state(self, slot: int) -> State:
        """See Backend."""
        self._pieces.settle(np.array([slot]))
        return self._rows[slot].copy(), self._rings.newest(slot)

    def restore(self, slots: Ints, state: State) -> None:
        """See Backend."""
        self._pieces.settle(slots)
        self._rows[slots], newest = state
        self._rings.replace(slots, newest)

    def step(self, slots: Ints, x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]) -> Answer:
        """See Backend."""
        return self.start(slots, x, first, end)()

    def start(
        self, slots: Ints, x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> Callable[[], Answer]:
        """See Backend."""
        arch = self._architecture
        h = x.shape[1] // arch.interval
        out = np.empty((len(slots), h, sum(self._widths)), np.float32)
        near = (first < self._begun) | (first + h > end)
        sizes = self._sizes(h)
        if self._preparing:
            sizes = [b for b in sizes if (b, h) in self._requests]
            # None compiled yet: the graph for edges computes any stream, if not as quickly.
            near |= not sizes
        rest = np.flatnonzero(~near)
        if len(rest) == len(slots):
            step = self._midway(sizes, slots, x, out)
        else:
            answers = np.empty((len(rest), *out.shape[1:]), np.float32)
            step = self._midway(sizes, slots[rest], x[rest], answers)
            self._pieces.settle(slots[near])
            self._near(np.flatnonzero(near), slots, x, first, np.minimum(end, FOREVER), out)
        labels, both = self._widths[0], self._widths[0] + self._widths[1]

        def answer() -> Answer:
            answered = step.wait()
            if answered is not out:
                out[rest] = answered
            return out[..., :labels], out[..., labels:both], out[..., both:]

        return answer

    def _midway(self, sizes: list[int], slots: Ints, x: Floats, out: Floats) -> Step:
        """Begin a step of streams that are not near their start or end; it fills out (B, H, all of an answer)."""
        h = out.shape[1]
        return self._pieces.start(sizes, lambda size: self._shape(size, h).next(), slots, x, out)

    def _near(
        self,
        some: Ints,
        slots: Ints,
        x: Floats,
        first: NDArray[np.int64],
        end: NDArray[np.int64],
        out: Floats,
    ) -> None:
        """Compute the streams that are near their start or end, and fill their rows of `out`."""
        h, at = out.shape[1], 0
        for size in self._sizes(h):
            # Of few sizes only: each takes OpenVINO ten milliseconds when it is met first.
            while (left := len(some) - at) >= WASTE * size:
                # Whole clips are never far from their edges, so for their blocks it pays to compile.
                shape = (size, h) if h > max(RUNS) and size > 1 else None
                if shape not in self._at_edges:
                    self._at_edges[shape] = self._net.edges(shape).create_infer_request()
                request = self._at_edges[shape]
                # A piece that is not full computes its last stream again.
                n = min(left, size)
                part = some[np.minimum(np.arange(at, at + size), len(some) - 1)]
                inside = state.insides(self._architecture, first[part], end[part], h)
                contexts = self._rings.buffers(size)
                self._rings.read(slots[part], contexts)
                x_part, row = np.ascontiguousarray(x[part]), self._rows[slots[part]]
                request.infer([x_part, *map(self._tensor, (row, *contexts)), *inside])
                answer, *kept = (tensor.data for tensor in request.output_tensors)
                after, *news = (a[:n].view(self._rows.dtype) for a in kept)
                part = part[:n]
                out[part], self._rows[slots[part]] = answer[:n], after
                self._rings.write(slots[part], news)
                at += n

    def _tensor(self, kept: NDArray[Any]) -> Any:
        """Return the state of streams as OpenVINO takes it."""
        return ov.Tensor(kept, ov.Shape(kept.shape), self._net.state)

    def _shape(self, b: int, h: int) -> RoundRobin[Request]:
        requests = self._requests.get((b, h))
        if requests is None:
            compiled, threads = self._net.step(b, h), self._net.threads if b > 1 else 1
            count = 2 * threads if threads > 1 else 1
            requests = RoundRobin(
                [Request(compiled, self._rows, self._rings, elsewhere=threads > 1) for _ in range(count)]
            )
            self._requests[b, h] = requests
        return requests


def _compile_behind(held: ref[OpenVinoBackend]) -> None:
    """Compile a backend's shapes while its streams are answered, until nobody holds it or the process ends."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, get_native_id(), BEHIND)  # on Linux of this thread alone
    if (backend := held()) is None:
        return
    shapes = backend._order()
    try:
        backend._meet_edges()
        for shape in shapes:
            # Between two shapes this thread does not hold the backend.
            del backend
            if not main_thread().is_alive() or (backend := held()) is None:
                return
            backend._shape(*shape)
    finally:
        if (backend := held()) is not None:
            backend._preparing = False
