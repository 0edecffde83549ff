"""Gives a model a distiller in whole numbers that says what its own one said: train/recipes/integers.sh.

    python -m streamcab_train.integers MODEL --config configs/context.toml --data MANIFEST.. --out FOLDER

The filters are scaled so that a byte holds what they pass on, and rounded. Then they learn to make the other layers say
what these said before, of the clips that teach by the recipe's draw. No label is used, the other layers stay, and
voices that judge are not heard. FOLDER holds clips, the state of the training, and in the end model.safetensors. The
same command continues a killed one.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from streamcab.errors import CorpusError
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.weights import Weights, detector_of
from streamcab_train.context_keys import ContextKeys, read_context
from streamcab_train.copies import Copy, make_copy, together
from streamcab_train.heads import execute, words_for
from streamcab_train.voices import dealt
from streamcab_train.whole_distiller import WholeDistiller, ranges

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
SILENT = 0.1
"""Weight of intervals that do not vote."""
NEAR, ANSWER = 0.5, 10.0
"""Weights of the losses of a_t and of c_t, beside 1 for the trunk's output and for the numbers that tell voices."""


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
