"""Pretraining: the distiller learns to predict the cepstra of its interval, from speakers outside the classes.

`streamcab pretrain` calls it. It sees no label, and no speaker who is evaluated later, whatever the split. Every step
depends only on the seed and the step's number, so a run that was killed resumes to the same weights. Owns the run's
folder: `state.safetensors`, and at the end `pretrained.safetensors`, where a recipe's `training.start` points.
"""

import csv
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray
from rich.console import Console

from streamcab.dsp.gate import VOICED
from streamcab.errors import CheckpointError, ConfigError, CorpusError
from streamcab.evidence.accumulator import HANG_S, counted
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.text import opened
from streamcab_train.cepstra import CEPSTRA, cepstra, louder
from streamcab_train.features import Features, load_features
from streamcab_train.manifest import Clip, read_manifest, read_rows
from streamcab_train.phones import Aligned, Phones, labelled, learn_phones, phone_names, read_alignment
from streamcab_train.recipe import read_recipe
from streamcab_train.recipe_keys import CorpusKeys, PretrainKeys
from streamcab_train.state import Progress, load_state, save_state

STATE, PRETRAINED = "state.safetensors", "pretrained.safetensors"
HELD_OUT = 20
"""One speaker in 20 is held out for evaluation."""
EDGE = 4
"""Intervals at each end of a crop that do not count: the network's context reaches beyond the crop there."""
SAVE = 250
"""Steps between two saved states."""

Floats = NDArray[np.float32]


def pretrain(
    data: Path,
    config: Path,
    out: Path,
    *,
    cache: Path,
    threads: int | None = None,
    console: Console | None = None,
) -> Checkpoint:
    """Pretrain by the recipe's [pretrain], resuming from the state in `out`.

    Args:
        data: Manifest.
        config: Recipe.
        out: Folder of the run.
        cache: Folder of the features.
        threads: Threads of torch; None leaves torch's own number.
        console: Where progress is printed.

    Returns:
        The model. Its ACB is untrained.

    Raises:
        ConfigError, CorpusError, CheckpointError: The recipe, the corpus or the saved state does not fit.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    console = console or Console()
    recipe = read_recipe(config)
    clips = strangers(data, recipe.corpus)
    arch = recipe.architecture(tuple(dict.fromkeys(recipe.corpus.labels.values())))
    if arch.summary != CEPSTRA or arch.pooled_rate != arch.rate:
        raise ConfigError(
            f"{config}: pretraining predicts {CEPSTRA} cepstra of the unpooled signal; model.summary is {arch.summary} "
            f"and model.pooled_rate is {arch.pooled_rate}; set them to {CEPSTRA} and to model.rate ({arch.rate})"
        )
    out.mkdir(parents=True, exist_ok=True)
    files = [(f"{data} row {clip.row}", data.parent / clip.path) for clip in clips]
    features = load_features(files, arch, cache)
    pupils = _Pupils(features, arch, recipe.pretrain.seed)
    speakers = len({c.speaker for c in clips})
    console.print(
        f"{len(clips)} clips of {speakers} speakers outside the classes, {pupils.hours:.1f} hours",
        highlight=False,
    )
    # Cepstra are learnt as if there were no phones, so that an earlier run without phones can be resumed.
    bare = dataclasses.replace(arch, lags=arch.lags or (0,), phones=0, reach=0, phone_hidden=0)
    model, progress = _learn(bare, pupils, recipe.pretrain, out / STATE, console)
    card = {
        "name": "pretrained on cepstra",
        "corpus": recipe.corpus.name,
        "licence": recipe.corpus.licence,
        "r2": progress.history[-1]["r2"],
        "recipe": recipe.to_dict(),
    }
    if arch.phones:
        model, told = _with_phones(model, arch, features, [clip.path for clip in clips], recipe.pretrain)
        card["phones"] = told
        console.print(
            f"phones: {told['told']:.3f} of the intervals of held-out speakers are recognised ({told['clips']} clips)",
            highlight=False,
        )
    pretrained = Checkpoint(model, card)
    checkpoint.save(pretrained, out / PRETRAINED)
    return pretrained


def strangers(data: Path, keys: CorpusKeys) -> list[Clip]:
    """Return the rows of a manifest whose label is no class. CorpusError if there are none, or if a speaker has both
    kinds."""
    if not keys.labels:
        raise CorpusError(
            f"{data}: corpus.labels is empty, so every row is in a class, and none is left for pretraining"
        )
    with opened(data) as text:
        found = {(row.get(keys.label) or "").strip() for row in csv.DictReader(text)}
    others = dict.fromkeys(sorted(found - set(keys.labels) - {""}), "stranger")
    if not others:
        raise CorpusError(f"{data}: every row is in a class, and none is left for pretraining")
    clips, _ = read_rows(data, structs.replace(keys, labels=others, split=""))
    both = {c.speaker for c in clips} & {c.speaker for c in read_manifest(data, keys).clips}
    if both:
        raise CorpusError(
            f"{data}: speaker {min(both)!r} has rows in a class and rows in none; pretraining needs other speakers"
        )
    return clips


class _Pupils:
    """The clips and the cepstra of each, standardised."""

    def __init__(self, features: Features, arch: Architecture, seed: int) -> None:
        self._features, self._arch = features, arch
        order = np.random.default_rng([seed, 0]).permutation(len(features.length))
        kept = max(1, len(order) // HELD_OUT)
        self.judged, self._trained = order[:kept], order[kept:]
        said = [cepstra(features.clip(i)[0], arch.rate, arch.interval) for i in range(len(order))]
        heard = np.concatenate([said[i][features.clip(i)[1] == VOICED] for i in self._trained])
        self._mean, self._sd = heard.mean(0), heard.std(0)
        self._said = [(one - self._mean) / self._sd for one in said]
        self.hours = float(features.length.sum()) * arch.interval_s / 3600

    def batch(self, keys: PretrainKeys, step: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Draw crops at random gains: x (B, K * I), their cepstra (B, K, CEPSTRA), and which intervals count (B, K)."""
        rng = np.random.default_rng([keys.seed, 1, step])
        k = self._arch.intervals(keys.seconds)
        long = self._trained[self._features.length[self._trained] >= k]
        xs, said, counts = [], [], []
        for i in rng.choice(long, keys.batch).tolist():
            first = int(rng.integers(self._features.length[i] - k + 1))
            gain = keys.gain * float(rng.standard_normal())
            x, kind = self._features.clip(i, first, k)
            told = self._said[i][first : first + k].copy()
            told[:, 0] += louder(gain) / self._sd[0]
            xs.append(x * np.float32(math.exp(gain)))
            said.append(told)
            counts.append(kind == VOICED)
        counted = np.stack(counts)
        counted[:, :EDGE] = counted[:, -EDGE:] = False
        return np.stack(xs), np.stack(said).astype(np.float32), counted

    def r2(self, model: CabCnn) -> list[float]:
        """Return the part of each cepstrum's variance that is predicted, on voiced intervals of held-out speakers."""
        wrong, all_ = np.zeros(CEPSTRA), np.zeros(CEPSTRA)
        for i in self.judged.tolist():
            x, kind = self._features.clip(i)
            with torch.inference_mode():
                told = _told(model, torch.from_numpy(x[None].copy()))[0].numpy()
            said = self._said[i][kind == VOICED]
            wrong += ((told[kind == VOICED] - said) ** 2).sum(0)
            all_ += ((said - said.mean(0)) ** 2).sum(0)
        return [round(float(x), 4) for x in 1 - wrong / all_]


def _told(model: CabCnn, x: torch.Tensor) -> torch.Tensor:
    assert model.summary is not None
    told: torch.Tensor = model.summary(model.distiller(x))
    return told


def _learn(
    arch: Architecture, pupils: _Pupils, keys: PretrainKeys, state: Path, console: Console
) -> tuple[CabCnn, Progress]:
    with torch.random.fork_rng():
        torch.manual_seed(keys.seed)
        model = CabCnn(arch)
    assert model.summary is not None
    learning = [*model.distiller.parameters(), *model.summary.parameters()]
    adam = torch.optim.Adam(learning, lr=keys.learning_rate)
    progress = Progress()
    if state.exists():
        progress, _ = load_state(state, model, adam)
        if progress.epoch > keys.steps:
            raise CheckpointError(
                f"{state} has done {progress.epoch} steps, more than pretrain.steps ({keys.steps})"
            )
    began = time.monotonic()
    while progress.epoch < keys.steps:
        step = progress.epoch
        for group in adam.param_groups:
            group["lr"] = keys.learning_rate * min(1, (step + 1) / 200) * _cosine(step / keys.steps)
        model.train()
        x, said, counts = (torch.from_numpy(a) for a in pupils.batch(keys, step))
        with torch.random.fork_rng():
            torch.manual_seed(keys.seed * 1_000_003 + step)
            wrong = (_told(model, x) - said)[counts]
        loss = wrong.square().mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        progress.epoch = step + 1
        if progress.epoch % SAVE == 0 or progress.epoch == keys.steps:
            model.eval()
            r2 = pupils.r2(model)
            progress.history.append({"step": progress.epoch, "loss": round(loss.item(), 5), "r2": r2})
            save_state(state, progress, model, {}, adam)
            console.print(
                f"step {progress.epoch} of {keys.steps}, {time.monotonic() - began:.0f} s: loss {loss.item():.3f}, "
                f"R2 on held-out speakers {np.mean(r2):.3f}",
                highlight=False,
            )
    return model.eval(), progress


def _with_phones(
    cepstral: CabCnn, arch: Architecture, features: Features, paths: list[str], keys: PretrainKeys
) -> tuple[CabCnn, dict[str, Any]]:
    """Return the pretrained model with phones, learnt from the aligned clips; how many, and the part recognised."""
    aligned = read_alignment(Path(keys.alignment))
    names = phone_names(aligned)
    if len(names) != arch.phones:
        raise ConfigError(
            f"{keys.alignment} has {len(names)} phones with silence, and model.phones is {arch.phones}"
        )
    with torch.random.fork_rng():
        torch.manual_seed(keys.seed)
        model = CabCnn(arch)
    model.distiller.load_state_dict(cepstral.distiller.state_dict())
    assert model.summary is not None
    assert cepstral.summary is not None
    model.summary.load_state_dict(cepstral.summary.state_dict())
    model.eval()
    clips = aligned_clips(model, features, paths, aligned, names)
    if len(clips) < 2:
        raise CorpusError(
            f"{keys.alignment} aligns {len(clips)} of the clips for pretraining; at least 2 are needed"
        )
    told = learn_phones(model, clips, keys.phone_epochs, keys.seed)
    return model, {"clips": len(clips), "told": round(told, 4), "names": list(names)}


def aligned_clips(
    model: CabCnn,
    features: Features,
    paths: Sequence[str],
    aligned: Mapping[str, Phones],
    names: Sequence[str],
) -> list[Aligned]:
    """Return the summaries and phones of every clip that has an alignment; clip i is paths[i]."""
    assert model.summary is not None
    clips = []
    for i, path in enumerate(paths):
        if path not in aligned:
            continue
        x, kind = features.clip(i)
        with torch.inference_mode():
            u = model.summary(model.distiller(torch.from_numpy(x[None].copy())))[0].numpy()
        phones = labelled(aligned[path], names, len(u), model.architecture.interval_s)
        clips.append((u, counted(u, kind == VOICED, model.architecture.intervals(HANG_S)), phones))
    return clips


def _cosine(part: float) -> float:
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part))


def begin_from(model: CabCnn, path: Path) -> None:
    """Load a pretrained distiller and summary into a model. CheckpointError if their shapes differ."""
    pretrained = checkpoint.load(path)
    mine, theirs = model.architecture, pretrained.architecture
    for name in ("rate", "pooled_rate", "stages", "summary", "normaliser", "phones", "reach", "phone_hidden"):
        if getattr(mine, name) != getattr(theirs, name):
            raise CheckpointError(
                f"{path} was pretrained with {name} {getattr(theirs, name)}, and the recipe has {getattr(mine, name)}"
            )
    model.distiller.load_state_dict(pretrained.model.distiller.state_dict())
    if model.summary is not None and pretrained.model.summary is not None:
        model.summary.load_state_dict(pretrained.model.summary.state_dict())
    if model.phones is not None and pretrained.model.phones is not None:
        model.phones.load_state_dict(pretrained.model.phones.state_dict())
