"""One training run, from a manifest to a checkpoint, as `streamcab train` calls it.

Connects the other files without knowing how they work, and owns the run's folder:

    run.json           recipe, corpus and split of the run; `--resume` must find the same
    state.safetensors  the state after the last finished epoch
    history.jsonl      a line for each epoch
    test.csv           the answer to each clip of the test split
    model.safetensors  the model, with its card
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from streamcab.errors import ConfigError, StreamcabError
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab_train.batches import Selection, whole_clips
from streamcab_train.calibration import fitted
from streamcab_train.card import make_card, protocol, speaker_hashes, speakers_of, taught
from streamcab_train.dataset import Dataset, gather
from streamcab_train.distilled import distilled
from streamcab_train.distributed import ProcessGroup, joined
from streamcab_train.evidence import chosen_shrinkage, fit_evidence, summed_up
from streamcab_train.loop import Judged, fit, judge
from streamcab_train.manifest import PARTS, Manifest, read_manifest
from streamcab_train.recipe import Recipe, read_recipe
from streamcab_train.run_folder import MODEL, RUN, cache_folder, hold, same_run, save_results
from streamcab_train.show import Screen


def train(
    data: Path,
    config: Path,
    out: Path,
    *,
    resume: bool = False,
    allow_shared_speakers: bool = False,
    strict: bool = False,
    overrides: Mapping[str, Any] | None = None,
    threads: int | None = None,
    device: str = "cpu",
    cache: Path | None = None,
    console: Console | None = None,
) -> Checkpoint:
    """Train a model.

    Processes started by torchrun share each batch. The first one writes and prints; the checkpoints that the others
    return have no card. All must see the same folders.

    Args:
        data: The manifest.
        config: The recipe.
        out: The run's folder.
        resume: Continue the run in `out`.
        allow_shared_speakers: Split by clip, so that a speaker may be in several parts.
        strict: Refuse a corpus that contains a recording twice; otherwise that is reported, and the recording stays in
            one part.
        overrides: Dotted recipe keys, such as {"training.seed": 1, "corpus.licence": "CC0-1.0"}.
        threads: Threads of torch, for the whole process; by default torch's own choice. Other numbers round
            differently.
        device: Device, by torch's name.
        cache: Folder of cached features; by default ~/.cache/streamcab.
        console: Where progress is shown.

    Raises:
        ConfigError: The recipe, `out` or an option is wrong.
        CorpusError: The manifest or a file of it is wrong.
        CheckpointError: The state in `out` is damaged.
        KeyboardInterrupt: Passed on after a line that says how to continue; at most the current epoch is lost.
    """
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"threads is {threads}; it must be 1 or more")
        torch.set_num_threads(threads)
    recipe = read_recipe(config, overrides)
    manifest = read_manifest(data, recipe.corpus, speakers=not allow_shared_speakers)
    with joined(device) as (ranks, own_device):
        return _train(
            recipe,
            manifest,
            out,
            ranks,
            own_device,
            resume,
            allow_shared_speakers,
            strict,
            cache,
            console or Console(),
        )


def _train(
    recipe: Recipe,
    manifest: Manifest,
    out: Path,
    ranks: ProcessGroup,
    device: str,
    resume: bool,
    allow_shared_speakers: bool,
    strict: bool,
    cache: Path | None,
    console: Console,
) -> Checkpoint:
    if not ranks.first:
        console = Console(quiet=True)
    held_by_us = hold(out, resume, RUN) if ranks.first else contextlib.nullcontext()
    with held_by_us, Screen(console, recipe.training) as screen:
        try:
            where = cache or cache_folder()
            dataset = gather(
                manifest,
                recipe,
                where,
                shared=allow_shared_speakers,
                strict=strict,
                progress=screen.features,
            )
            if ranks.first:
                same_run(out / RUN, _identity(recipe, dataset, allow_shared_speakers))
            if recipe.training.frozen:
                taught = Path(recipe.training.start)
                features = distilled(dataset.features, dataset.architecture, taught, where)
                dataset = dataclasses.replace(dataset, features=features)
            _tell(dataset, allow_shared_speakers, device, where, screen, ranks)
            parts = {part: dataset.select(part) for part in PARTS}
            model, progress = fit(
                dataset.architecture,
                parts["train"],
                parts["validation"],
                recipe.training,
                out,
                device=device,
                watcher=screen,
                ranks=ranks,
            )
            if not ranks.first:
                return Checkpoint(model)
            judged, extra = _judged(model, recipe, dataset, parts)
        except KeyboardInterrupt:
            screen.say(f"stopped; to continue, run the same command with --resume (the state is in {out})")
            raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise StreamcabError(
                f"cannot write {error.filename or out}: {error.strerror}; the last finished epoch is safe; "
                "free some space, then run the same command with --resume"
            ) from error
        parameters = sum(p.numel() for p in model.parameters())
        card = make_card(recipe, dataset, judged, progress, parameters, allow_shared_speakers) | extra
        save_results(out, dataset, model, card, judged["test"])
        screen.show_results(judged, card, dataset.architecture.labels)
        screen.say(f"{out / MODEL}: epoch {progress.best_epoch} of {progress.epoch}")
    return checkpoint.load(out / MODEL)


def _judged(
    model: CabCnn, recipe: Recipe, dataset: Dataset, parts: Mapping[str, Selection]
) -> tuple[dict[str, Judged], dict[str, Any]]:
    """Return the answers on validation and test, and what they add to the card; evidence is fitted first, if any."""

    def on(part: str) -> Judged:
        return judge(model, whole_clips(parts[part], recipe.training, dataset.architecture.interval_s))

    if model.evidence is None:
        return {part: on(part) for part in ("validation", "test")}, {}
    extra: dict[str, Any] = {}
    shrinkage = recipe.evidence.shrinkage
    heard, held_out = (speakers_of(dataset, part) for part in ("train", "validation"))
    if recipe.evidence.shrinkages:
        x, _ = summed_up(model, parts["train"])
        y, choice = parts["train"].y, recipe.evidence.shrinkages
        shrinkage = extra["shrinkage"] = chosen_shrinkage(x, y, heard, choice, recipe.training.seed)
    fit_evidence(model, parts["train"], shrinkage)
    validation = on("validation")
    extra["calibration"] = fitted(validation.probabilities, validation.truth, held_out)
    # Nothing more is chosen by these voices: now they teach, too.
    fit_evidence(model, parts["train"] + parts["validation"], shrinkage)
    extra["training_speakers"] = speaker_hashes([*heard, *held_out])
    extra["taught_on"] = taught(dataset, "train", "validation")
    return {"validation": validation, "test": on("test")}, extra


def train_quietly(data: Path, config: Path, out: Path, **options: Any) -> None:
    """Call `train` without output, continuing the run in `out`: for a pool, which shows all its runs."""
    train(data, config, out, resume=True, console=Console(quiet=True), **options)


def _identity(recipe: Recipe, dataset: Dataset, shared: bool) -> dict[str, Any]:
    """Return what must stay the same when a run is resumed."""
    split = hashlib.sha256(json.dumps(dataset.parts).encode()).hexdigest()[:12]
    return {
        "recipe": recipe.to_dict(),
        "labels": list(dataset.architecture.labels),
        "corpus": dataset.hash,
        "split": split,
        "shared_speakers": shared,
    }


def _tell(
    dataset: Dataset, shared: bool, device: str, cache: Path, screen: Screen, ranks: ProcessGroup
) -> None:
    """Print the corpus and its split before the long work begins."""
    screen.show_corpus(dataset, protocol(shared))
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    processes = f", {ranks.size} processes" if ranks.size > 1 else ""
    screen.say(f"on {device}{threads}{processes}; features in {cache}")
