"""A model for one's own accents, from a trained model: `streamcab train` without a recipe.

Distiller, trunk and speech detector of the model stay unchanged; a new ACB learns the labels of the manifest. Owns the
run's folder, which contains `run.json`, `test.csv` and `model.safetensors`, as in `run.py`.
"""

import contextlib
import csv
import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from rich.console import Console

from streamcab.errors import CheckpointError, CorpusError
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence, tempered
from streamcab.text import opened
from streamcab_train.calibration import abstain_below, fitted, nll
from streamcab_train.card import make_card, protocol, speaker_hashes, speakers_of
from streamcab_train.dataset import Dataset, gather, replaced
from streamcab_train.distilled import as_read
from streamcab_train.head import HeadKeys, fit_head, judge_head
from streamcab_train.loop import Judged
from streamcab_train.manifest import PARTS, read_manifest
from streamcab_train.recipe import Recipe
from streamcab_train.recipe_keys import CorpusKeys, SplitKeys
from streamcab_train.run_folder import MODEL, RUN, cache_folder, hold, same_run, save_results
from streamcab_train.show import Screen
from streamcab_train.state import Progress

LABELS, SPEAKERS = ("label", "accent"), ("speaker", "group", "client_id")
"""Columns of a manifest, the first that is there."""
SPLIT = SplitKeys(train=0.6, validation=0.2, test=0.2)
RIGHT = 0.8
"""How many of the answers at or above the threshold are right, on the validation voices."""
FEW = 20
"""Speakers a class below which a figure says more of them than of their accent."""
NEAR = 0.05
"""Half of the interval at which a UAR is called known."""
KEPT = ("distiller.", "trunk.", "detector.", "voice.")
"""Weights that stay as they were."""


def train_own(
    data: Path,
    start: Path,
    out: Path,
    *,
    label_column: str = "",
    resume: bool = False,
    allow_shared_speakers: bool = False,
    strict: bool = False,
    keys: HeadKeys | None = None,
    threads: int | None = None,
    device: str = "cpu",
    cache: Path | None = None,
    console: Console | None = None,
) -> Checkpoint:
    """Train a model for the labels of the manifest `data`, from the checkpoint `start`.

    Args:
        data: The manifest.
        start: Checkpoint of the model to start from.
        out: The run's folder.
        label_column: Column of the labels; by default `label`, or else `accent`.
        keys: How the ACB is trained.
        resume, allow_shared_speakers, strict, threads, device, cache, console: As in `run.train`.

    Raises:
        ConfigError, CorpusError, CheckpointError: As in `run.train`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    keys, where = keys or HeadKeys(), cache or cache_folder()
    base = checkpoint.load(start)
    licence = f"that of {start.name} ({base.card.get('licence', 'unknown')}), and that of the recordings"
    columns = columns_of(data, label_column, speakers=not allow_shared_speakers)
    corpus = CorpusKeys(name=data.stem, licence=licence, label=columns.label, speaker=columns.speaker)
    recipe = Recipe(corpus=corpus, split=SPLIT)
    manifest = read_manifest(data, corpus, speakers=not allow_shared_speakers)
    with hold(out, resume, RUN), Screen(console or Console(), recipe.training) as screen:
        width, interval = base.architecture.stages[-1].filters, base.architecture.interval
        an_hour = 3600 / base.architecture.interval_s * (4 * (interval + width) + 1) / 1e9
        screen.say(
            f"from {start.name} ({base.hash}); caches in {where}, {an_hour:.2f} GB for an hour of talk"
        )
        dataset = gather(
            manifest,
            recipe,
            where,
            shared=allow_shared_speakers,
            strict=strict,
            progress=screen.features,
            net=base.net,
        )
        began = {"model": start.name, "hash": base.hash}
        identity = {"start": began, "head": keys.to_dict(), "corpus": dataset.hash, "labels": manifest.labels}
        same_run(out / RUN, msgspec.to_builtins(identity))
        screen.show_corpus(dataset, protocol(allow_shared_speakers))
        for line in few(dataset):
            screen.say(line)
        start_model = CabCnn.of(base.net)
        read = as_read(dataset.features, start_model, where, screen.trunk)
        size = dataset.features.x.nbytes + read.x.nbytes
        screen.say(f"caches of this corpus: {size / 1e9:.3f} GB")
        model = _with_labels(base, manifest.labels).to(device)
        start_model.to(device)
        parts = {part: dataclasses.replace(dataset, features=read).select(part) for part in PARTS}
        heard = speakers_of(dataset, "train")
        found = fit_head(start_model, len(manifest.labels), parts["train"], heard, parts["validation"], keys)
        model.acb.load_state_dict(found.acb.state_dict())
        judged = {part: judge_head(found.acb, parts[part]) for part in ("validation", "test")}
        parameters = sum(p.numel() for p in model.parameters())
        card = make_card(recipe, dataset, judged, Progress(), parameters, allow_shared_speakers)
        card = {k: v for k, v in card.items() if k not in ("epochs", "best_epoch")}
        own = recipe.to_dict()
        card |= {
            "recipe": {"corpus": own["corpus"], "split": own["split"]},
            "start": began | {"name": base.card.get("name", "unnamed")},
            "head": keys.to_dict() | {"best_step": found.step},
        }
        # The trunk knows its training voices, so they are not new to a net built on it.
        before = base.card.get("training_speakers") or []
        card["training_speakers"] = sorted({*speaker_hashes(heard), *before})
        card |= _calibrated(judged["validation"], speakers_of(dataset, "validation"), 1 / keys.soften[0])
        served = save_results(out, dataset, model, card, judged["test"])
        screen.show_results(judged, card, manifest.labels)
        for line in (*_sureness(card, served), *believed(dataset, card["scores"]["test"])):
            screen.say(line)
        screen.say(f"{out / MODEL}: streamcab classify --model {out / MODEL} FILE")
    return checkpoint.load(out / MODEL)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a manifest that hold the label and the speaker."""

    label: str
    speaker: str


def columns_of(data: Path, label: str = "", *, speakers: bool = True) -> Columns:
    """Return the columns of label and speaker.

    Raises:
        CorpusError: There are none.
    """
    with contextlib.suppress(OSError, UnicodeDecodeError, csv.Error), opened(data) as text:
        there = csv.DictReader(text).fieldnames or []
        found = {}
        for what, names in (("label", (label,) if label else LABELS), ("speaker", SPEAKERS)):
            column = next((name for name in names if name in there), None)
            if column is None and (what == "label" or speakers):
                raise CorpusError(
                    f"{data} has no column {' or '.join(names)}, only {', '.join(there) or 'nothing'}; "
                    "`streamcab prepare tree DIR --out manifest.csv` writes one from LABEL/SPEAKER/FILE"
                )
            found[what] = column or names[0]
        return Columns(**found)
    # What is wrong with the file is the manifest's to say.
    return Columns(label or LABELS[0], SPEAKERS[0])


def from_scratch(data: Path, label: str, *, speakers: bool = True) -> dict[str, Any]:
    """Return recipe keys for a manifest, as `run.train` takes them: its labels as they are, of any corpus."""
    columns = columns_of(data, label, speakers=speakers)
    own = {"label": columns.label, "speaker": columns.speaker, "labels": {}}
    return {f"corpus.{k}": v for k, v in {**own, "name": data.stem, "licence": "unknown"}.items()}


def _with_labels(base: Checkpoint, labels: tuple[str, ...]) -> CabCnn:
    """Return a net with the base's layers and a new ACB."""
    model = CabCnn(replaced(base.architecture, labels))
    kept = {k: v for k, v in CabCnn.of(base.net).state_dict().items() if k.startswith(KEPT)}
    missing = [k for k in model.load_state_dict(kept, strict=False).missing_keys if k.startswith(KEPT)]
    if missing:
        raise CheckpointError(f"the model to begin from has no {missing[0]}")
    return model.eval()


def _calibrated(validation: Judged, speakers: list[str], coldest: float) -> dict[str, Any]:
    """Return temperature and threshold, as a card holds them.

    If a few voices are all answered correctly, the best temperature is the coldest. None below `coldest`, which undoes
    the softening, is accepted.
    """
    p = validation.probabilities.astype(np.float64)
    calibration = fitted(p, validation.truth, speakers)
    if calibration["temperature"] < coldest:
        after = nll(tempered(p, coldest), validation.truth)
        calibration |= {"temperature": coldest, "nll_after": round(after, 4)}
    card = {"calibration": calibration}
    below = abstain_below(Confidence.of(card)(p), validation.truth, RIGHT)
    # Where no threshold keeps the promise on these voices, the confidence itself has to.
    card["abstain"] = {
        "accuracy": RIGHT,
        "below": round(RIGHT if below is None else below, 4),
        "fitted_on": "validation" if below is not None else "the temperature",
        "clips": len(p),
    }
    return card


def speakers_a_class(dataset: Dataset) -> dict[str, int]:
    """Return the number of speakers of each class; a clip without a speaker counts as one."""
    return {
        label: len({clip.speaker or clip.path for clip in dataset.clips if clip.label == label})
        for label in dataset.architecture.labels
    }


def few(dataset: Dataset) -> list[str]:
    """Return a warning if a class has few speakers."""
    named = [f"{label} {n}" for label, n in speakers_a_class(dataset).items() if n < FEW]
    if not named:
        return []
    return [
        f"warning: few speakers ({', '.join(named)}): with fewer than {FEW} a class the model learns these voices "
        "more than their accent, and its figures say little"
    ]


def believed(dataset: Dataset, entry: dict[str, Any]) -> list[str]:
    """Return how reliable the test's figure is, and how many speakers a more precise one would take."""
    chance, interval = 1 / len(dataset.architecture.labels), entry["uar_95"]
    fewest = min(speakers_a_class(dataset).values())
    if interval is None:
        return [f"nothing can be said of UAR {entry['uar']:.2f}: a class has a single held-out speaker"]
    low, high = interval
    half = (high - low) / 2
    beyond = "above" if low > chance else "not surely above"
    line = f"UAR on held-out speakers {entry['uar']:.2f} ({low:.2f} to {high:.2f}): {beyond} chance, {chance:.2f}"
    if half <= NEAR:
        return [line]
    wanted = int(np.ceil(fewest * (half / NEAR) ** 2 / 10) * 10)
    return [f"{line}; to know it to {NEAR} takes about {wanted} speakers a class, the smallest has {fewest}"]


def _sureness(card: dict[str, Any], served: np.ndarray[Any, Any]) -> list[str]:
    """Return a line on temperature, threshold, and the share of test clips answered at it."""
    confidence = Confidence.of(card)
    sure = float((served.max(1) >= (confidence.abstain_below or 0)).mean())
    return [
        f"temperature {confidence.temperature:g}, sure from {confidence.abstain_below:g} on "
        f"({sure:.0%} of the test clips), by {card['calibration']['speakers']} validation speakers"
    ]
