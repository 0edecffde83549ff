"""The torch backend on a GPU: steps of a few sizes, recorded once as CUDA graphs and replayed.

A step of this net is some eighty small kernels; launched one by one from Python they take longer to launch
than to run. A graph launches them as one, on buffers that never move: samples and slots go in by one copy
from pinned memory, answers come out by one. State stays on the device. Knows nothing of what TorchBackend
does not know of; where no GPU is, the same code runs with a recorder that records nothing.
"""

from collections.abc import Callable

import numpy as np
import torch

from streamcab.nn.backend.layout import Arena, Pass
from streamcab.nn.backend.pieces import RUNS, Batch, Floats, Ints, Pieces, RoundRobin, Step
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.weights import Net

SIZES = (4_096, 512, 64, 8)
"""Streams of the graphs. The largest takes about 1.2 GB with 8 intervals, and is work enough for any card."""
HEAD = 2
"""Words of a row in which the slot travels, ahead of the samples: an int64 in two float32."""

Record = Callable[[Callable[[], None]], Callable[[], object]]
"""What makes of some work, which always uses the same memory, a way to do it again."""


def as_graph(work: Callable[[], None]) -> Callable[[], object]:
    """Record a CUDA graph of the work; it is done a few times before, so that whatever is chosen late has been
    chosen."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    replay: Callable[[], object] = graph.replay
    return replay


class CudaBackend(TorchBackend):
    """See Backend."""

    def __init__(
        self,
        net: Net,
        slots: int,
        device: str = "cuda",
        precision: str = "f32",
        record: Record = as_graph,
    ) -> None:
        # One slot more than asked for: what fills a piece up works there, and harms nobody.
        super().__init__(net, slots + 1, device, precision)
        self._spare = slots
        self._record, self._pieces = record, Pieces(slots)
        self._sizes = sorted({min(size, slots) for size in SIZES}, reverse=True)
        self._recorded: dict[tuple[int, int], RoundRobin[_Replay]] = {}

    def prepare(self, *, wait: bool = True) -> None:
        """Record the steps that the engine asks for and the slots can fill; waits in any case."""
        with torch.inference_mode():
            for h in RUNS:
                for b in self._sizes:
                    self._replays(b, h)

    def _midway(self, slots: Ints, x: Floats, out: Floats) -> None:
        h = out.shape[1]
        step = Step(self._pieces, out)
        self._pieces.start(step, Batch(slots, x), self._sizes, lambda size: self._replays(size, h).next())
        step.wait()

    def _replays(self, b: int, h: int) -> "RoundRobin[_Replay]":
        replays = self._recorded.get((b, h))
        if replays is None:
            # Two, so that one is filled while the other computes.
            replays = RoundRobin([_Replay(self, b, h) for _ in range(2)])
            self._recorded[b, h] = replays
        return replays


class _Replay:
    """A Piece: b streams, h intervals, recorded on buffers of its own."""

    def __init__(self, backend: CudaBackend, b: int, h: int) -> None:
        self._b, self._h, self._width, self._spare = b, h, backend._width, backend._spare
        samples = h * backend._interval
        row = HEAD + samples + samples % 2
        on_gpu = backend.device.type == "cuda"
        host = torch.zeros(b, row, pin_memory=on_gpu)
        self._host, self._row = host, host.numpy()
        self._slots = self._row[:, :HEAD].view(np.int64)[:, 0]
        self._slots[:] = self._spare
        self._device = host.to(backend.device)
        answer = torch.zeros(self._width, b * h, device=backend.device)
        self._answer = answer
        self._answer_host = torch.zeros(self._width, b * h, pin_memory=on_gpu)
        self._done = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        self._n, self._samples = 0, samples
        layout = Pass(backend._kernels, b, h, Arena(backend._work.new_empty(0)), backend._further)

        def work() -> None:
            index = self._device[:, :HEAD].contiguous().view(torch.int64)[:, 0]
            x = self._device[:, HEAD : HEAD + samples]
            answer.copy_(backend._compute(layout, index, x))

        self._replay = backend._record(work)

    def start(self, batch: Batch) -> None:
        """See Piece."""
        self._n = n = len(batch.slots)
        self._slots[:n] = batch.slots
        self._slots[n:] = self._spare
        self._row[:n, HEAD : HEAD + self._samples] = batch.x
        self._device.copy_(self._host, non_blocking=True)
        self._replay()
        self._answer_host.copy_(self._answer, non_blocking=True)
        if self._done is not None:
            self._done.record()

    def result(self) -> Floats:
        """See Piece."""
        if self._done is not None:
            self._done.synchronize()
        answer: Floats = self._answer_host.numpy().T.reshape(self._b, self._h, self._width)
        return answer[: self._n]
