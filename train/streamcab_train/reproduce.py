"""The paper's tables on another corpus: what `streamcab reproduce` calls.

CAB-CNN at four lengths and its five baselines, each as the paper trains it, several times, with the speakers
disjoint and with the speakers shared. What was made smaller stands above every table. Knows nothing of how a net
trains, or of how the tables look. The folder:

    disjoint.csv, shared.csv, pieces/   the clips and their splits
    PROTOCOL/MODEL/SEED/                a run each; killed, it goes on
    reproduce.json, reproduce.md        the tables
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from rich.console import Console

from streamcab.errors import ConfigError
from streamcab_train import paper
from streamcab_train.baseline_run import BaselineKeys, train_rival
from streamcab_train.baselines import BASELINES
from streamcab_train.fold_answers import pooled, read_answers
from streamcab_train.loop import HISTORY
from streamcab_train.manifest import read_manifest
from streamcab_train.pool import Run, run_all
from streamcab_train.protocols import Protocol, disjoint, limited, shared
from streamcab_train.recipe import read_recipe
from streamcab_train.recipe_keys import TrainingKeys
from streamcab_train.reproduced import render
from streamcab_train.run import train_quietly
from streamcab_train.run_folder import ANSWERS, MODEL
from streamcab_train.scores import confusion_matrix, interval_95, scores
from streamcab_train.split import DISJOINT, SHARED

SETUP = "setup.json"


@dataclass(frozen=True)
class Shrunk:
    """Sizes that may be smaller than the paper's; None leaves a size as it is.

    Attributes:
        image: Pixels of the baselines' pictures.
        speakers: Most speakers of each class.
        pieces: Pieces into which each file is cut if speakers are shared; not from the paper.
    """

    repeats: int = paper.REPEATS
    epochs: int = paper.TRAINING.epochs
    batch: int | None = None
    image: int | None = None
    speakers: int | None = None
    pieces: int = 1

    def said(self) -> list[str]:
        """Return each difference from the paper, in words."""
        baselines = BaselineKeys()
        found = {
            f"{self.repeats} of {paper.REPEATS} repeats": self.repeats != paper.REPEATS,
            f"at most {self.epochs} epochs": self.epochs != paper.TRAINING.epochs,
            f"batches of {self.batch} (paper: CAB-CNN {paper.TRAINING.batch}, baselines {baselines.batch})": (
                self.batch is not None
            ),
            f"pictures of {self.image} x {self.image} (paper: 224 or 256)": self.image is not None,
            f"at most {self.speakers} speakers of each class": self.speakers is not None,
        }
        return [words for words, differs in found.items() if differs]


@dataclass(frozen=True)
class _Row:
    """model: its name in the tables; seconds: T, or 0 of a baseline; same_as: the row whose runs are these, too."""

    model: str
    seconds: int
    same_as: str = ""


def reproduce(
    data: Path,
    config: Path,
    out: Path,
    cache: Path,
    shrunk: Shrunk,
    *,
    models: Sequence[str] = (),
    only: str = "",
    jobs: int = 1,
    threads: int = 1,
    device: str = "cpu",
    console: Console | None = None,
) -> dict[str, Any]:
    """Make all rows on the manifest `data`, going on with what is in `out`; print the tables, and write them.

    config  a recipe, of which only [corpus] and [split] count: how to read the manifest
    models  rows to make, by default all
    only    one protocol, DISJOINT or SHARED of `split.py`; by default both
    """
    console = console or Console()
    recipe = read_recipe(config)
    unknown = sorted(set(models) - set(paper.BEST))
    if unknown:
        raise ConfigError(f"no such row: {unknown[0]!r}; there are {', '.join(paper.BEST)}")
    manifest = read_manifest(data, recipe.corpus)
    _make_folder(out)
    clips = limited(manifest, shrunk.speakers, recipe.split.seed)
    protocols = []
    if only != SHARED:
        protocols.append(disjoint(manifest, clips, recipe.split, out))
    if only != DISJOINT:
        protocols.append(shared(manifest, clips, recipe.split, out, shrunk.pieces))
    _same_setup(out / SETUP, asdict(shrunk), protocols)
    rows = {protocol.name: _rows(protocol, models) for protocol in protocols}
    runs = [
        _run(protocol, row, seed, out, config, cache, shrunk, threads, device)
        for seed in range(shrunk.repeats)
        for protocol in protocols
        for row in rows[protocol.name]
        if not row.same_as
    ]
    for line in shrunk.said():
        console.print(f"not as in the paper: {line}", highlight=False)
    try:
        run_all(runs, jobs, console, "runs")
    except KeyboardInterrupt:
        console.print(f"stopped; to go on: the same command again (what is done is in {out})")
        raise
    table = {
        "corpus": recipe.corpus.name,
        "labels": sorted({clip.label for clip in clips}),
        "not_as_in_the_paper": shrunk.said(),
        "pieces": shrunk.pieces,
        "protocols": [_protocol(p, rows[p.name], out, shrunk) for p in protocols],
    }
    (out / "reproduce.json").write_text(json.dumps(table, indent=1) + "\n")
    (out / "reproduce.md").write_text(render(table))
    console.print(render(table), highlight=False, markup=False, soft_wrap=True)
    return table


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot use {out} as a folder: {error.strerror}") from None


def _same_setup(file: Path, shrunk: dict[str, Any], protocols: Sequence[Protocol]) -> None:
    """Check that the folder holds runs of the same clips and sizes; repeats and a protocol may be added."""
    setup = {k: v for k, v in shrunk.items() if k not in ("repeats", "pieces")}
    setup |= {p.name: [f"{c.speaker} {c.label} {c.part}" for c in p.clips] for p in protocols}
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for key, value in setup.items():
        if before.setdefault(key, value) != value:
            raise ConfigError(f"{file.parent} holds runs with another {key}: take another --out")
    file.write_text(json.dumps(before) + "\n", encoding="utf-8")


def _rows(protocol: Protocol, models: Sequence[str]) -> list[_Row]:
    """Return the paper's rows; where no clip is longer than a shorter T, a longer T would be the same run."""
    rows, longest = [], max(protocol.seconds)
    same = ""
    for t in paper.SECONDS:
        name = f"CAB-CNN-{t}s"
        if models and name not in models:
            continue
        rows.append(_Row(name, t, same))
        if not same and t >= longest:
            same = name
    rows += [_Row(name, 0) for name in BASELINES if not models or name in models]
    return rows


def _run(
    protocol: Protocol,
    row: _Row,
    seed: int,
    out: Path,
    config: Path,
    cache: Path,
    shrunk: Shrunk,
    threads: int,
    device: str,
) -> Run:
    folder = _folder(out, protocol, row, seed)
    common = {"data": protocol.manifest, "out": folder, "device": device, "threads": threads}
    name = f"{row.model}, {protocol.name}, seed {seed}"
    if row.model in BASELINES:
        keys = BaselineKeys(seed=seed, epochs=shrunk.epochs, size=shrunk.image or 0)
        keys = replace(keys, batch=shrunk.batch or keys.batch)
        arguments = common | {"name": row.model, "corpus": protocol.corpus, "keys": keys}
        return Run(name, folder, ANSWERS, shrunk.epochs, train_rival, arguments)
    training = structs.replace(paper.TRAINING, seed=seed, epochs=shrunk.epochs, seconds=float(row.seconds))
    training = structs.replace(training, batch=shrunk.batch or training.batch)
    arguments = common | {"config": config, "overrides": _overrides(protocol, training), "cache": cache}
    arguments["allow_shared_speakers"] = protocol.shared
    return Run(name, folder, MODEL, shrunk.epochs, train_quietly, arguments)


def _overrides(protocol: Protocol, training: TrainingKeys) -> dict[str, Any]:
    """Return all keys of a recipe except the corpus' name and the shares of its split."""
    corpus = structs.asdict(protocol.corpus)
    keys = {k: corpus[k] for k in ("path", "label", "speaker", "split", "labels", "shortest_s")}
    found: dict[str, Any] = {f"corpus.{k}": v for k, v in keys.items()}
    found |= {f"model.{k}": v for k, v in structs.asdict(paper.MODEL).items()}
    return found | {f"training.{k}": v for k, v in structs.asdict(training).items()}


def _folder(out: Path, protocol: Protocol, row: _Row, seed: int) -> Path:
    return out / protocol.name.split()[-1] / row.model / str(seed)


def _protocol(protocol: Protocol, rows: Sequence[_Row], out: Path, shrunk: Shrunk) -> dict[str, Any]:
    tested = [s for s, clip in zip(protocol.seconds, protocol.clips, strict=True) if clip.part == "test"]
    found = []
    for row in rows:
        source = replace(row, model=row.same_as) if row.same_as else row
        folders = [_folder(out, protocol, source, seed) for seed in range(shrunk.repeats)]
        answered = [read_answers(folder / ANSWERS) for folder in folders]
        every = pooled(answered)
        labels = len(every.labels)
        each = [scores(confusion_matrix(a.truth, a.answers, labels)) for a in answered]
        best = max(each, key=lambda s: s.accuracy)
        epochs = [len((folder / HISTORY).read_text(encoding="utf-8").splitlines()) for folder in folders]
        found.append(
            {
                "model": row.model,
                "same_run_as": row.same_as,
                "heard_s": round(float(np.mean([min(s, row.seconds or s) for s in tested])), 1),
                "epochs": epochs,
                "best": [best.accuracy, best.uar, best.f1],
                "mean": [float(np.mean([getattr(s, k) for s in each])) for k in ("accuracy", "uar", "f1")],
                "uar_95": interval_95(every.truth, every.answers, every.speakers, labels),
                "confusion": best.confusion.tolist(),
                "paper_best": paper.BEST[row.model],
                "paper_mean": paper.MEAN.get(row.model),
            }
        )
    return {"name": protocol.name, "counts": protocol.counts(), "rows": found}
