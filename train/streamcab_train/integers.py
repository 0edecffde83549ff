"""Gives a model a distiller in whole numbers that says what its own one said: train/recipes/integers.sh.

    python -m streamcab_train.integers MODEL --config configs/context.toml --data MANIFEST.. --out FOLDER

The filters are scaled so that a byte holds what they pass on, and rounded. Then they learn to make the other layers say
what these said before, of the clips that teach by the recipe's draw. The gradient passes roundings as if they were not
there. No label is used, the other layers stay, and voices that judge are not heard. FOLDER holds clips, the state of
the training, and in the end model.safetensors. The same command continues a killed one.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from streamcab.errors import CorpusError
from streamcab.nn import checkpoint, integers
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.distiller import Distiller, Stage, bytes_of
from streamcab.nn.weights import Weights, detector_of
from streamcab_train.context_keys import ContextKeys, read_context
from streamcab_train.copies import Copy, make_copy, together
from streamcab_train.heads import execute, words_for
from streamcab_train.voices import dealt

STEPS, SAVE = 800, 100
ORDER, SEED = 1, 5
"""Of the clips, and of what is drawn."""
ROWS, INTERVALS = 8, 240
"""Of a batch."""
RATE, WARM, LEAST, FLAT = 2e-4, 50, 0.02, 0.2
"""Learning rate: steps in which it rises, what is left of it at the end, and the part of the steps before it falls."""
COPIED = 2000
"""Clips that are heard augmented, too."""
MEASURED = 24
"""Rows on which ranges are measured."""
QUANTILES, EVEN = (0.9995, 0.9998, 0.9998), (0.7, 0.5, 1.0)
"""By stage, of others the last: the quantile of what a filter passes on that a byte shall hold, and how far filters are
made alike in it. The rest of their differences stays, since the next stage's weights pay for what is made alike."""
SPREAD = 64
"""Most times that the range of one filter is that of another."""
SILENT = 0.1
"""Weight of intervals that do not vote."""
NEAR, ANSWER = 0.5, 10.0
"""Weights of the losses of a_t and of c_t, beside 1 for the trunk's output and for the numbers that tell voices."""

Ranges = list[Tensor]


class _Round(torch.autograd.Function):
    """Rounding, whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class _OfBytes(torch.autograd.Function):
    """The first stage's convolution, whose gradient is wanted for weight and bias alone, as one product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kernel = weight.shape[-1]
        return _convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        (x,), g = ctx.saved_tensors, grads[0].flatten(0, 1)
        windows = x.unfold(1, ctx.kernel, 1).flatten(0, 1).flatten(1)
        return None, (g.t() @ windows).view(-1, x.shape[2], ctx.kernel), g.sum(0)


def _round(x: Tensor) -> Tensor:
    found: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return found


def _image(x: Tensor) -> Tensor:
    return x.unsqueeze(1).permute(0, 3, 1, 2)


def _plain(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).squeeze(1)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    kernel = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return _plain(F.conv2d(_image(x), kernel, bias))


class WholeStage(nn.Module):
    """A stage of a distiller in whole numbers while it learns: its parameters are what is rounded."""

    units: Tensor

    def __init__(self, stage: Stage, weight: Tensor, bias: Tensor, *, first: bool) -> None:
        """Make a stage of the shape of `stage`; weight (filters, channels, kernel), bias (filters,)."""
        super().__init__()
        self.shape, self.first = stage.shape, first
        self.weight = nn.Parameter(weight.repeat(1, integers.channels(first, 1), 1))
        self.bias = nn.Parameter(bias)
        largest = weight.flatten(1).abs().amax(1).clamp(min=1e-6)
        self.register_buffer("units", 2.0 ** torch.ceil(torch.log2(largest / integers.WEIGHT)))

    def rounded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias as whole numbers of their units."""
        units = self.units[:, None, None]
        if self.first:
            units = units * units.new_tensor([1.0, integers.COARSE])[None, :, None]
        weight = torch.clamp(_round(self.weight / units), -integers.WEIGHT, integers.WEIGHT) * units
        unit = self.units * integers.unit(self.first)
        # Half a unit beside a whole one: then no sum is half way between two numbers that are passed on.
        return weight, (_round(self.bias / unit - 0.5) + 0.5) * unit

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, T, channels) -> (B, T / stride, filters)."""
        weight, bias = self.rounded()
        x, shape = F.pad(x, (0, 0, *self.shape.conv_pad)), self.shape
        y: Tensor = _OfBytes.apply(x, weight, bias) if self.first else _convolve(x, weight, bias)  # type: ignore[no-untyped-call]
        left, right = shape.pool_pad
        image = F.max_pool2d(_image(y), (1, shape.pool), (1, shape.stride), (0, left), ceil_mode=right > left)
        passed = torch.clamp(_plain(image) / integers.PASSED, 0, integers.MOST)
        return _round(passed) * integers.PASSED


class WholeDistiller(nn.Module):
    """A distiller in whole numbers while it learns: at first the float one with filters scaled by their ranges."""

    def __init__(self, distiller: Distiller, found: Ranges) -> None:
        super().__init__()
        self.stages, self.norm = nn.ModuleList(), deepcopy(distiller.norm).eval()
        scale = None
        for i, stage in enumerate(distiller.stages):
            assert isinstance(stage, Stage)
            weight, bias = stage.weight.detach().clone(), stage.bias.detach().clone()
            if scale is not None:
                weight = weight / scale[None, :, None]
            fit = (integers.MOST - 1) * integers.PASSED / found[i]
            scale = fit.min() * (fit / fit.min()) ** EVEN[min(i, len(EVEN) - 1)]
            made = WholeStage(stage, weight * scale[:, None, None], bias * scale, first=i == 0)
            self.stages.append(made)
        assert scale is not None
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        with torch.no_grad():
            norm.running_mean.mul_(scale)
            norm.running_var.copy_(((norm.running_var + norm.eps) * scale.square() - norm.eps).clamp(min=0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised samples (B, T) -> a (B, T / interval, filters)."""
        y = bytes_of(x)
        for stage in self.stages:
            y = stage(y)
        found: Tensor = self.norm(y.flatten(0, 1)).view_as(y)
        return found

    @torch.no_grad()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a checkpoint."""
        found = {f"norm.{name}": tensor for name, tensor in self.norm.state_dict().items()}
        for i, stage in enumerate(self.stages):
            assert isinstance(stage, WholeStage)
            found[f"stages.{i}.weight"], found[f"stages.{i}.bias"] = stage.rounded()
        return {f"distiller.{name}": t.contiguous().numpy().copy() for name, t in found.items()}


@torch.no_grad()
def ranges(distiller: Distiller, x: Tensor) -> Ranges:
    """Measure what the filters of each stage pass on of samples (B, T): a quantile by filter."""
    y, found = x.unsqueeze(-1), []
    for i, stage in enumerate(distiller.stages):
        y = stage(y)
        quantile = QUANTILES[min(i, len(QUANTILES) - 1)]
        most = torch.from_numpy(np.quantile(y.flatten(0, 1).numpy(), quantile, axis=0).astype(np.float32))
        found.append(torch.maximum(most, most.max() / SPREAD).clamp(min=1e-3))
    return found


def _said(model: CabCnn, a: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Compute what comes of a_t: the trunk's output, c_t, and the numbers that tell voices."""
    h, middle = (a, a) if model.trunk is None else model.trunk.both(a)
    return h, model.acb(h)[0], None if model.voice is None else model.voice.of_interval(middle)


def loss(model: CabCnn, pupil: WholeDistiller, x: Tensor, votes: Tensor) -> tuple[Tensor, float]:
    """Return the loss of a batch, and how far c_t of the intervals that vote is from the model's, on average.

    Args:
        model: What is copied.
        pupil: The distiller that learns.
        x: Samples, (B, T).
        votes: Which intervals vote, (B, T / interval), 1 or 0.
    """
    with torch.no_grad():
        a = model.distiller(x)
        h, c, numbers = _said(model, a)
    # Row by row: what lies between two stages then stays in the cache.
    mine = torch.cat([pupil(x[i : i + 1]) for i in range(len(x))])
    my_h, my_c, my_numbers = _said(model, mine)
    weight = (votes + SILENT).unsqueeze(-1)
    weight = weight / weight.mean()

    def error(one: Tensor, other: Tensor) -> Tensor:
        return ((one - other).square() * weight).mean()

    away = (c * (c.clamp(min=1e-6).log() - my_c.clamp(min=1e-6).log())).sum(-1, keepdim=True)
    total = NEAR * error(mine, a) + error(my_h, h) + ANSWER * (away * weight).mean()
    if numbers is not None and my_numbers is not None:
        total = total + error(my_numbers, numbers) / numbers.var((0, 1)).mean()
    apart = ((my_c - c).detach().abs().amax(-1) * votes).sum() / votes.sum().clamp(min=1)
    return total, float(apart)


def schedule(step: int, steps: int) -> float:
    """Return the learning rate of a step, as a part of the largest."""
    fallen = 0.5 * (1 + np.cos(np.pi * min(1.0, max(0.0, (step / steps - FLAT) / (1 - FLAT)))))
    return min(1.0, (step + 1) / WARM) * (LEAST + (1 - LEAST) * float(fallen))


def _drawn(heard: Copy, rng: np.random.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Draw rows of neighbouring intervals, over the ends of clips: samples (rows, T) and votes."""
    length = min(INTERVALS, len(heard.votes))
    at = rng.integers(0, len(heard.votes) - length + 1, rows)
    x = np.stack([heard.x[i : i + length].astype(np.float32).reshape(-1) for i in at])
    votes = np.stack([heard.votes[i : i + length] for i in at]).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(votes)


def teach(
    model: CabCnn, heard: Copy, steps: int, seed: int, state: Path, say: Callable[[str], object]
) -> WholeDistiller:
    """Teach a distiller in whole numbers what `model` makes of speech, from `state` on if it is there.

    Args:
        model: In floats; it is not changed.
        heard: Speech.
        steps: How long.
        seed: Of what is drawn.
        state: A file.
        say: Receives progress messages.
    """
    model = deepcopy(model).eval().requires_grad_(False)
    measured, _ = _drawn(heard, np.random.default_rng([seed, 1]), MEASURED)
    pupil = WholeDistiller(model.distiller, ranges(model.distiller, measured))
    optimiser = torch.optim.Adam(pupil.parameters(), lr=RATE, betas=(0.9, 0.98))
    begun, told = 0, list[float]()
    if state.exists():
        saved = torch.load(state, weights_only=True)
        pupil.load_state_dict(saved["pupil"])
        optimiser.load_state_dict(saved["optimiser"])
        begun = int(saved["step"])
    for step in range(begun, steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * schedule(step, steps)
        total, apart = loss(model, pupil, *_drawn(heard, np.random.default_rng([seed, 2, step]), ROWS))
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimiser.step()
        told.append(apart)
        if (step + 1) % SAVE == 0 or step + 1 == steps:
            part = state.with_suffix(".part")
            saved = {"pupil": pupil.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(saved, part)
            part.replace(state)
            say(f"step {step + 1}: c_t of a vote differs by {np.mean(told):.4f}")
            told.clear()
    return pupil


def converted(model: Checkpoint, pupil: WholeDistiller, about: dict[str, object]) -> Checkpoint:
    """Return the model with that distiller."""
    arrays = {**model.weights.arrays, **pupil.arrays()}
    architecture = replace(model.architecture, integers=True)
    return Checkpoint(Weights(architecture, arrays), {**model.card, "integers": {"of": model.hash, **about}})


def run(
    path: Path,
    keys: ContextKeys,
    manifests: Sequence[Path],
    out: Path,
    steps: int = STEPS,
    say: Callable[[str], object] = print,
) -> Path:
    """Teach the distiller, and write the model with it.

    Raises:
        CorpusError: The model computes in whole numbers already, or no clip teaches.
    """
    model = checkpoint.load(path)
    if model.architecture.integers:
        raise CorpusError(f"{path} computes in whole numbers already")
    voices, parts = dealt(keys, manifests)
    rng = np.random.default_rng(ORDER)
    paths = [voices[i].path for i in rng.permutation(np.flatnonzero(parts.teaches)).tolist()]
    if not paths:
        raise CorpusError("no clip teaches: the manifests hold none of the recipe's corpora")
    detector = detector_of(model.net)
    heard = together(
        [
            make_copy(some, model.architecture, number, SEED, out / "clips", detector)
            for number, some in enumerate((paths, paths[:COPIED]))
        ]
    )
    say(f"{len(paths)} clips, {len(heard.votes) * model.architecture.interval_s / 3600:.1f} h with copies")
    pupil = teach(model.model, heard, steps, SEED, out / "state.pt", say)
    written = out / "model.safetensors"
    checkpoint.save(converted(model, pupil, {"clips": len(paths), "steps": steps}), written)
    say(f"{written}: {checkpoint.load(written).hash}")
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    words = words_for("Gives a model a distiller in whole numbers.", "a checkpoint")
    words.add_argument("--out", type=Path, required=True, help="a folder")
    words.add_argument("--steps", type=int, default=STEPS)

    def begin(given: Namespace) -> None:
        given.out.mkdir(parents=True, exist_ok=True)
        run(given.model, read_context(given.config), given.data, given.out, given.steps)

    execute(words, begin, arguments)


if __name__ == "__main__":
    main()
