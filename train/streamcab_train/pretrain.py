"""Teaching: a distiller learns to tell its interval's cepstra, from speakers who are of none of the classes.

What `streamcab teach` calls. No label is seen, and no speaker who is judged later, whatever the split. Every
step is a function of the seed and its number, so a run that was killed goes on to the same weights. Owns the run's
folder: `state.safetensors`, and at the end `taught.safetensors`, from which `training.start` begins.
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

from streamcab.dsp.normalise import VOICED
from streamcab.errors import CheckpointError, ConfigError, CorpusError
from streamcab.evidence.accumulator import HANG_S, counted
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.text import opened
from streamcab_train.features import Features, load_features
from streamcab_train.manifest import Clip, read_manifest, read_rows
from streamcab_train.phones import Aligned, Phones, labelled, learn_phones, phone_names, read_alignment
from streamcab_train.recipe import CorpusKeys, PretrainKeys, read_recipe
from streamcab_train.state import Progress, load_state, save_state
from streamcab_train.teacher import CEPSTRA, cepstra, louder

STATE, TAUGHT = "state.safetensors", "taught.safetensors"
HELD_OUT = 20
"""One speaker of so many is kept to judge by."""
EDGE = 4
"""Intervals at each end of a crop that are not judged: the net hears beyond them."""
SAVE = 250
"""Steps between two states."""

Floats = NDArray[np.float32]


def teach(
    data: Path,
    config: Path,
    out: Path,
    *,
    cache: Path,
    threads: int | None = None,
    console: Console | None = None,
) -> Checkpoint:
    """Teach as the recipe's [teach] says, going on from the state in `out`; the model, whose ACB is untrained.

    Errors: ConfigError, CorpusError, CheckpointError.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    console = console or Console()
    recipe = read_recipe(config)
    clips = strangers(data, recipe.corpus)
    arch = recipe.architecture(tuple(dict.fromkeys(recipe.corpus.labels.values())))
    if arch.summary != CEPSTRA or arch.pooled_rate != arch.rate:
        raise ConfigError(
            f"{config}: the teacher tells {CEPSTRA} cepstra of the signal itself: model.summary is {arch.summary} and "
            f"model.pooled_rate {arch.pooled_rate}; make them {CEPSTRA} and model.rate ({arch.rate})"
        )
    out.mkdir(parents=True, exist_ok=True)
    files = [(f"{data} row {clip.row}", data.parent / clip.path) for clip in clips]
    features = load_features(files, arch, cache)
    pupils = _Pupils(features, arch, recipe.teach.seed)
    console.print(
        f"{len(clips)} clips of {len({c.speaker for c in clips})} speakers of no class, {pupils.hours:.1f} hours",
        highlight=False,
    )
    # Cepstra are taught as if there were no phones: what was taught before serves them too.
    bare = dataclasses.replace(arch, lags=arch.lags or (0,), phones=0, reach=0, phone_hidden=0)
    model, progress = _learn(bare, pupils, recipe.teach, out / STATE, console)
    card = {
        "name": "taught cepstra",
        "corpus": recipe.corpus.name,
        "licence": recipe.corpus.licence,
        "r2": progress.history[-1]["r2"],
        "recipe": recipe.to_dict(),
    }
    if arch.phones:
        model, told = _with_phones(model, arch, features, [clip.path for clip in clips], recipe.teach)
        card["phones"] = told
        console.print(
            f"phones: {told['told']:.3f} of {told['clips']} clips' intervals, of voices held out, are told right",
            highlight=False,
        )
    taught = Checkpoint(model, card)
    checkpoint.save(taught, out / TAUGHT)
    return taught


def strangers(data: Path, keys: CorpusKeys) -> list[Clip]:
    """The rows of a manifest whose label is no class. CorpusError for none, or for a speaker of both kinds."""
    if not keys.labels:
        raise CorpusError(
            f"{data}: without corpus.labels every row is of a class, and none is left to teach with"
        )
    with opened(data) as text:
        found = {(row.get(keys.label) or "").strip() for row in csv.DictReader(text)}
    others = dict.fromkeys(sorted(found - set(keys.labels) - {""}), "stranger")
    if not others:
        raise CorpusError(f"{data}: every row is of a class, and none is left to teach with")
    clips, _ = read_rows(data, structs.replace(keys, labels=others, split=""))
    both = {c.speaker for c in clips} & {c.speaker for c in read_manifest(data, keys).clips}
    if both:
        raise CorpusError(
            f"{data}: speaker {min(both)!r} is of a class and of none; teaching wants strangers"
        )
    return clips


class _Pupils:
    """The clips with what the teacher says of each, standardised."""

    def __init__(self, features: Features, arch: Architecture, seed: int) -> None:
        self._features, self._arch = features, arch
        order = np.random.default_rng([seed, 0]).permutation(len(features.length))
        kept = max(1, len(order) // HELD_OUT)
        self.judged, self._taught = order[:kept], order[kept:]
        said = [cepstra(features.clip(i)[0], arch.rate, arch.interval) for i in range(len(order))]
        heard = np.concatenate([said[i][features.clip(i)[1] == VOICED] for i in self._taught])
        self._mean, self._sd = heard.mean(0), heard.std(0)
        self._said = [(one - self._mean) / self._sd for one in said]
        self.hours = float(features.length.sum()) * arch.interval_s / 3600

    def batch(self, keys: PretrainKeys, step: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Crops at any gain: x (B, K * I), what the teacher says of them (B, K, CEPSTRA), which count (B, K)."""
        rng = np.random.default_rng([keys.seed, 1, step])
        k = self._arch.intervals(keys.seconds)
        long = self._taught[self._features.length[self._taught] >= k]
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
        """Of each cepstrum, the part of its variance that is told, on voiced intervals of those held out."""
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
            raise CheckpointError(f"{state} is {progress.epoch} steps on, beyond teach.steps ({keys.steps})")
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
                f"told of those held out {np.mean(r2):.3f} (R2)",
                highlight=False,
            )
    return model.eval(), progress


def _with_phones(
    cepstral: CabCnn, arch: Architecture, features: Features, paths: list[str], keys: PretrainKeys
) -> tuple[CabCnn, dict[str, Any]]:
    """The taught model with phones, learnt from the aligned clips; how many, and what part is told right."""
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
        raise CorpusError(f"{keys.alignment} aligns {len(clips)} of the clips that teach; it wants 2 or more")
    told = learn_phones(model, clips, keys.phone_epochs, keys.seed)
    return model, {"clips": len(clips), "told": round(told, 4), "names": list(names)}


def aligned_clips(
    model: CabCnn,
    features: Features,
    paths: Sequence[str],
    aligned: Mapping[str, Phones],
    names: Sequence[str],
) -> list[Aligned]:
    """What a model's distiller makes of the clips that an alignment has, and their phones; clip i is paths[i]."""
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
    """Put a taught distiller and summary into a model. CheckpointError when it is of another shape."""
    taught = checkpoint.load(path)
    mine, theirs = model.architecture, taught.architecture
    for name in ("rate", "pooled_rate", "stages", "summary", "normaliser", "phones", "reach", "phone_hidden"):
        if getattr(mine, name) != getattr(theirs, name):
            raise CheckpointError(
                f"{path} was taught with {name} {getattr(theirs, name)}, and the recipe has {getattr(mine, name)}"
            )
    model.distiller.load_state_dict(taught.model.distiller.state_dict())
    if model.summary is not None and taught.model.summary is not None:
        model.summary.load_state_dict(taught.model.summary.state_dict())
    if model.phones is not None and taught.model.phones is not None:
        model.phones.load_state_dict(taught.model.phones.state_dict())
