"""The trunk: what lies between the distiller and the ACB, so that c_t hears more than a tenth of a second.

Blocks of the same width, each a depthwise convolution over time (dilated, so that few blocks reach far), a layer
norm over the channels of an interval, and two layers within the interval; what comes in is added to what comes out.
As the distiller, it runs in two ways on the same weights: a whole clip at once, with zeros beyond its ends, or a few
intervals at a time, each block keeping the intervals that its next kernels still need. Both give the same.

Knows nothing of audio, of streams' names or of labels. Activations are laid out (batch, time, channels).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamcab.nn.geometry import BlockShape, looking

__all__ = ["Block", "BlockShape", "Trunk", "outside"]


def outside(first: Tensor, end: Tensor, delay: int, length: int) -> Tensor:
    """Return which of a step's intervals lie before their stream's start or after its end: (B, length, 1).

    Args:
        first: Intervals of each stream before this step, (B,).
        end: Intervals of the whole stream, (B,).
        delay: Intervals by which the masked signal lags behind the step.
        length: Intervals of the step.
    """
    position = first[:, None] - delay + torch.arange(length, device=first.device)
    return ((position < 0) | (position >= end[:, None])).unsqueeze(-1)


class Block(nn.Module):
    """Depthwise convolution over time, layer norm, two layers with ReLU between, and the input added."""

    def __init__(self, shape: BlockShape, width: int, hidden: int, delay: int) -> None:
        """`delay` is that of the input, in intervals."""
        super().__init__()
        self.shape = shape
        self.delay = delay + shape.delay
        self.taps = nn.Parameter(torch.empty(shape.kernel, width))
        nn.init.normal_(self.taps, std=shape.kernel**-0.5)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)

    def depthwise(self, x: Tensor, length: int) -> Tensor:
        """Convolve `length` intervals of x (B, context + length, width), each channel by its own kernel."""
        d = self.shape.dilation
        # Shifted products: torch's grouped convolution is slower on a CPU.
        y = x[:, :length] * self.taps[0]
        for k in range(1, self.shape.kernel):
            y = y + x[:, k * d : k * d + length] * self.taps[k]
        return y

    def _around(self, x: Tensor, length: int) -> Tensor:
        """Compute x (B, context + length, width) -> (B, length, width)."""
        here = self.shape.context - self.shape.delay
        y: Tensor = self.narrow(torch.relu(self.widen(self.norm(self.depthwise(x, length)))))
        return x[:, here : here + length] + y

    def forward(self, x: Tensor) -> Tensor:
        """Compute a whole clip: (B, T, width) -> (B, T, width)."""
        before, after = self.shape.context - self.shape.delay, self.shape.delay
        return self._around(F.pad(x, (0, 0, before, after)), x.shape[1])

    def new_state(self, streams: int) -> Tensor:
        """Return the state of streams that have not begun: (streams, context, width)."""
        return self.taps.new_zeros(streams, self.shape.context, self.taps.shape[1])

    def step(self, x: Tensor, state: Tensor, edges: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Compute H more intervals: x (B, H, width) -> (B, H, width), `shape.delay` later, and the new state.

        Args:
            x: the input, zeros where it lies outside of the stream.
            state: what `new_state` or the step before gave.
            edges: (first, end) of `outside` where a stream of the batch is near its start or its end, else None.
        """
        length = x.shape[1]
        x = torch.cat((state, x), 1)
        y = self._around(x, length)
        if edges is not None:
            y = y.masked_fill(outside(*edges, self.delay, length), 0.0)
        return y, x[:, length:]


class Trunk(nn.Module):
    """Blocks, then a layer norm: a_t (B, T, width) -> h_t (B, T, width)."""

    def __init__(self, blocks: Sequence[BlockShape], width: int, hidden: int, delay: int) -> None:
        """`delay` is the distiller's, in intervals."""
        super().__init__()
        self.blocks = nn.ModuleList()
        for shape in blocks:
            block = Block(shape, width, hidden, delay)
            self.blocks.append(block)
            delay = block.delay
        self.delay = delay
        """Intervals by which a streamed h_t lags behind the newest interval heard."""
        self._looking = looking(blocks)
        self.norm = nn.LayerNorm(width)

    def forward(self, a: Tensor) -> Tensor:
        """Compute whole clips: a (B, T, width) -> h (B, T, width)."""
        return self.both(a)[0]

    def both(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `forward`, and the output of the blocks that look ahead alone: see `looking`."""
        y = middle = a
        for i, block in enumerate(self.blocks, 1):
            y = block(y)
            middle = y if i == self._looking else middle
        return self.norm(y), middle

    def new_state(self, streams: int) -> list[Tensor]:
        """Return the state of streams that have not begun, one tensor for each block."""
        return [block.new_state(streams) for block in self.typed()]

    def step(
        self, a: Tensor, state: list[Tensor], edges: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute H more intervals of B streams: a (B, H, width) -> h (B, H, width), and the state after them.

        What is given back belongs to the intervals that lie the blocks' delays before those of a. Where a lies
        outside of its stream it must be 0.
        """
        h, _, after = self.step_both(a, state, edges)
        return h, after

    def step_both(
        self, a: Tensor, state: list[Tensor], edges: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Compute `step`, and the second output of `both`."""
        y, middle, after = a, a, list[Tensor]()
        for i, (block, before) in enumerate(zip(self.typed(), state, strict=True), 1):
            y, kept = block.step(y, before, edges)
            after.append(kept)
            middle = y if i == self._looking else middle
        return self.norm(y), middle, after

    def typed(self) -> list[Block]:
        """Return the blocks."""
        return [block for block in self.blocks if isinstance(block, Block)]
