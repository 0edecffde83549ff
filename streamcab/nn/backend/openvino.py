"""The backend for CPUs: steps of streams through the graphs of an `OpenVinoNet`. Needs no torch.

Knows nothing of which streams exist, of audio, or of votes.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread, get_native_id, main_thread
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.architecture import FOREVER
from streamcab.nn.backend import graph, state
from streamcab.nn.backend.edge_request import EdgeRequest
from streamcab.nn.backend.memory import MANY, keep_freed_memory
from streamcab.nn.backend.pieces import (
    RUNS,
    Answer,
    Batch,
    EdgeBatch,
    Floats,
    Ints,
    Pieces,
    RoundRobin,
    State,
    Step,
)
from streamcab.nn.backend.request import StepRequest
from streamcab.nn.backend.rings import Rings

if TYPE_CHECKING:
    from streamcab.nn.backend.openvino_net import OpenVinoNet

STREAMS = (32, 8, 2, 1)
"""Streams of the compiled shapes. Eight run at full speed already; 32 save Python's work, and still fit the cache."""
MOST = 256
"""Streams times intervals of a shape at most: what is larger does not fit the cache."""
MIDDLE = 8
"""Streams, and intervals, of the shapes that do for most steps until others are compiled."""
FIRST = 2
"""Shapes that a server waits for before it begins: without them its first streams would find it too slow."""
BEHIND = 10
"""Niceness of what compiles while streams are answered."""


class OpenVinoBackend:
    """See Backend. State is one row of float32 for each slot, and rings for the trunk.

    Streams in mid-course, which is nearly all of them, go through graphs of fixed shapes; those near their start or
    end through one that is told what lies beyond a stream's edges.
    """

    def __init__(self, net: "OpenVinoNet", slots: int) -> None:
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
        self._requests: dict[tuple[int, int], RoundRobin[StepRequest]] = {}
        self._at_edges: dict[tuple[tuple[int, int] | None, int], RoundRobin[EdgeRequest]] = {}
        self._pieces = Pieces(slots)
        self._preparing = False

    def prepare(self, *, wait: bool = True) -> None:
        """See Backend. Without it shapes compile as they come, a tenth of a second each."""
        self._edges()
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
        """Meet each shape once, so that it takes no stream's time: the first of each costs tens of milliseconds."""
        rings = Rings(
            1, [b.context for b in self._architecture.trunk], self._architecture.stages[-1].filters, 1
        )
        for h in RUNS:
            for b in self._sizes(h):
                # Spare rows and rings: what is computed here belongs to nobody. As many at a time as there are threads.
                met = [
                    EdgeRequest(
                        self._edges(), self._architecture, self._fresh[None], rings, b, elsewhere=True
                    )
                    for _ in range(self._net.threads)
                ]
                x, first = np.zeros((1, h * self._architecture.interval), np.float32), np.zeros(1, np.int64)
                for request in met:
                    request.start(EdgeBatch(first, x, first, first + FOREVER))
                for request in met:
                    request.wait()

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
        h = asked = x.shape[1] // arch.interval
        if h not in RUNS and h < RUNS[0] and (first + h >= end + arch.delay).all():
            # Nothing follows: with silence in the end, the graph for edges has fewer shapes to change between.
            x, h = np.pad(x, ((0, 0), (0, (RUNS[0] - h) * arch.interval))), RUNS[0]
        out = np.empty((len(slots), h, sum(self._widths)), np.float32)
        near = (first < self._begun) | (first + h > end)
        sizes = self._sizes(h)
        if self._preparing:
            sizes = [b for b in sizes if (b, h) in self._requests]
            # None compiled yet: the graph for edges computes any stream, if not as quickly.
            near |= not sizes
        step, make = Step(self._pieces, out), partial(self._next_of_shape, h)
        if not near.any():
            self._pieces.start(step, Batch(slots, x), sizes, make)
        else:
            rest, edge = np.flatnonzero(~near), np.flatnonzero(near)
            self._pieces.start(step, Batch(slots[rest], x[rest]), sizes, make, rest)
            at_edge = EdgeBatch(slots[edge], x[edge], first[edge], end[edge])
            self._pieces.start(step, at_edge, self._sizes(h), partial(self._next_at_edge, h), edge)
        labels, both = self._widths[0], self._widths[0] + self._widths[1]

        def answer() -> Answer:
            found = step.wait()[:, :asked]
            return found[..., :labels], found[..., labels:both], found[..., both:]

        return answer

    def _next_of_shape(self, h: int, size: int) -> StepRequest:
        return self._shape(size, h).next()

    def _next_at_edge(self, h: int, size: int) -> EdgeRequest:
        # Whole clips are never far from their edges, so for their blocks it pays to compile.
        shape = (size, h) if h > max(RUNS) and size > 1 else None
        requests = self._at_edges.get((shape, size))
        if requests is None:
            count = 2 * self._threads(size) if self._threads(size) > 1 else 1
            requests = RoundRobin([self._edge_request(shape, size) for _ in range(count)])
            self._at_edges[shape, size] = requests
        return requests.next()

    def _edge_request(self, shape: tuple[int, int] | None, size: int) -> EdgeRequest:
        compiled, elsewhere = self._edges(shape), self._threads(size) > 1
        return EdgeRequest(compiled, self._architecture, self._rows, self._rings, size, elsewhere=elsewhere)

    def _edges(self, shape: tuple[int, int] | None = None) -> Any:
        return self._net.edges(shape, self._threads(len(self._rows)))

    def _threads(self, streams: int) -> int:
        """Return the threads of a step. A lone stream computes on the caller's thread: another one costs 30 us to
        wake."""
        return self._net.threads if streams > 1 else 1

    def _shape(self, b: int, h: int) -> RoundRobin[StepRequest]:
        requests = self._requests.get((b, h))
        if requests is None:
            compiled, threads = self._net.step(b, h), self._threads(b)
            count = 2 * threads if threads > 1 else 1
            requests = RoundRobin(
                [StepRequest(compiled, self._rows, self._rings, elsewhere=threads > 1) for _ in range(count)]
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
