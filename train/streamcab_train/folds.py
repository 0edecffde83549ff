"""Speaker-disjoint folds, repeated, as `streamcab train --folds K --repeats R` calls them.

Each fold is a run of its own and is resumed like any run. Knows nothing of training. The folder:

    folds.json               identity of these runs; `--resume` must find the same, except for more repeats
    R/K.csv                  manifest of a fold, with its split: `streamcab evaluate --data` takes it
    R/K/                     its run
    summary.json, summary.md the scores
"""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streamcab.errors import ConfigError
from streamcab.text import opened
from streamcab_train.dataset import twins_of
from streamcab_train.distributed import started_by_torchrun
from streamcab_train.features import load_features
from streamcab_train.fold_answers import FoldAnswers, read_answers
from streamcab_train.manifest import PARTS, Clip, Manifest, read_manifest
from streamcab_train.pool import Run, run_all
from streamcab_train.recipe import Recipe, read_recipe
from streamcab_train.run import train_quietly
from streamcab_train.run_folder import ANSWERS, MODEL, cache_folder, hold, same_run
from streamcab_train.split import fold_clips
from streamcab_train.summary import render, summarise
from streamcab_train.twins import Twins

FOLDS = "folds.json"
SPLIT = "split"
"""The column that a fold's manifest has more than the corpus'."""


@dataclass(frozen=True)
class Fold:
    """One run: its repeat and fold, and the part of each clip."""

    repeat: int
    fold: int
    parts: tuple[str, ...]

    def folder(self, out: Path) -> Path:
        """Return the folder of the run."""
        return out / str(self.repeat) / str(self.fold)


def train_folds(
    data: Path,
    config: Path,
    out: Path,
    folds: int,
    repeats: int = 1,
    *,
    resume: bool = False,
    jobs: int = 1,
    overrides: Mapping[str, Any] | None = None,
    threads: int = 1,
    device: str = "cpu",
    cache: Path | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train and evaluate all folds of all repeats.

    Args:
        data: The manifest.
        config: The recipe.
        out: Folder of all runs.
        folds: Number of folds.
        repeats: How many times the speakers are dealt anew.
        resume: Continue the runs in `out`.
        jobs: Runs at a time, each with `threads` of torch.
        overrides, threads, device, cache, strict, console: As in `run.train`.

    Returns:
        The summary, which is also printed and written to `out`.

    Raises:
        ConfigError, CorpusError, CheckpointError: As in `run.train`.
    """
    if folds < 2:
        raise ConfigError(f"folds is {folds}; it must be 2 or more")
    if started_by_torchrun():
        raise ConfigError("folds are separate runs: use --jobs instead of torchrun")
    console = console or Console()
    recipe = read_recipe(config, overrides)
    if recipe.corpus.split:
        raise ConfigError(
            f"{config}: corpus.split is {recipe.corpus.split!r}, but --folds makes its own split: leave it out"
        )
    manifest = read_manifest(data, recipe.corpus)
    twins = _twins(manifest, recipe, cache or cache_folder(), strict)
    if said := twins.in_words(manifest.clips):
        console.print(
            f"{said}; they are kept in one fold (--strict refuses them)", highlight=False, markup=False
        )
    drawn = [
        Fold(repeat, fold, tuple(parts))
        for repeat in range(repeats)
        for fold, parts in enumerate(fold_clips(manifest.clips, recipe.split, folds, repeat, twins))
    ]
    with hold(out, resume, FOLDS):
        same_run(out / FOLDS, _identity(recipe, manifest, folds))
        console.print(
            "speakers of the first repeat: train / validation / test, speaker-disjoint", highlight=False
        )
        console.print(_table(manifest, drawn[:folds]))
        runs = [
            _run(fold, manifest, recipe, config, out, overrides or {}, threads, device, cache)
            for fold in drawn
        ]
        try:
            run_all(runs, jobs, console, "folds")
        except KeyboardInterrupt:
            console.print(
                f"stopped; to continue, run the same command with --resume (finished folds are in {out})"
            )
            raise
        answered = [
            [read_answers(f.folder(out) / ANSWERS) for f in drawn if f.repeat == r] for r in range(repeats)
        ]
        for repeat in answered:
            _each_once(repeat)
        summary = summarise(answered, recipe.corpus.name)
        (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        (out / "summary.md").write_text(render(summary))
        console.print(render(summary), highlight=False, markup=False, soft_wrap=True)
    return summary


def _twins(manifest: Manifest, recipe: Recipe, cache: Path, strict: bool) -> Twins:
    """Return which clips are the same recording; computes the features, which every fold needs."""
    files = [(f"{manifest.file} row {clip.row}", manifest.audio(clip)) for clip in manifest.clips]
    features = load_features(files, recipe.architecture(manifest.labels), cache)
    return twins_of(manifest, manifest.clips, features, strict)


def _identity(recipe: Recipe, manifest: Manifest, folds: int) -> dict[str, Any]:
    clips = [f"{clip.path} {clip.label} {clip.speaker}" for clip in manifest.clips]
    return {"folds": folds, "recipe": recipe.to_dict(), "clips": clips}


def _run(
    fold: Fold,
    manifest: Manifest,
    recipe: Recipe,
    config: Path,
    out: Path,
    overrides: Mapping[str, Any],
    threads: int,
    device: str,
    cache: Path | None,
) -> Run:
    folder = fold.folder(out)
    data = folder.with_suffix(".csv")
    _write_manifest(data, manifest, recipe, fold)
    own = {"corpus.split": SPLIT, "training.seed": recipe.training.seed + fold.repeat}
    arguments = {
        "data": data,
        "config": config,
        "out": folder,
        "overrides": dict(overrides) | own,
        "threads": threads,
        "device": device,
        "cache": cache,
    }
    name = f"repeat {fold.repeat}, fold {fold.fold}"
    return Run(name, folder, MODEL, recipe.training.epochs, train_quietly, arguments)


def _write_manifest(file: Path, manifest: Manifest, recipe: Recipe, fold: Fold) -> None:
    """Write a fold's manifest: the corpus' rows of our clips with absolute paths and the split."""
    keys = recipe.corpus
    part_of = {clip.path: part for clip, part in zip(manifest.clips, fold.parts, strict=True)}
    with opened(manifest.file) as text:
        reader = csv.DictReader(text)
        columns = [name for name in reader.fieldnames or [] if name != SPLIT]
        rows = [row for row in reader if row[keys.path].strip() in part_of]
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with part.open("w", newline="", encoding="utf-8") as text:
        writer = csv.DictWriter(text, [*columns, SPLIT], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            path = row[keys.path].strip()
            # As it is spelled: two spellings of one path are two rows.
            where = os.path.join(manifest.file.parent.resolve(), path)
            writer.writerow(row | {keys.path: where, SPLIT: part_of[path]})
    os.replace(part, file)


def _table(manifest: Manifest, folds: Sequence[Fold]) -> Table:
    """Return a table of the speakers of each class in each part of each fold of the first repeat."""
    table = Table()
    table.add_column("class")
    for fold in folds:
        table.add_column(f"fold {fold.fold}", justify="right")
    for label in manifest.labels:
        cells = [" / ".join(str(_voices(manifest.clips, f, label, part)) for part in PARTS) for f in folds]
        table.add_row(label, *cells)
    return table


def _voices(clips: Sequence[Clip], fold: Fold, label: str, part: str) -> int:
    own = zip(clips, fold.parts, strict=True)
    return len({clip.speaker for clip, p in own if (clip.label, p) == (label, part)})


def _each_once(folds: Sequence[FoldAnswers]) -> None:
    """Check that no speaker was tested in two folds of a repeat, so that their scores may be pooled.

    Raises:
        ConfigError: One was.
    """
    seen: dict[str, int] = {}
    for number, answered in enumerate(folds):
        for speaker in set(answered.speakers):
            if seen.setdefault(speaker, number) != number:
                raise ConfigError(f"speaker {speaker!r} was tested in folds {seen[speaker]} and {number}")
