"""One training run, from a manifest to a checkpoint: what `streamcab train` calls.

Wires the other files together, knows nothing of how any of them works, and owns the run's folder:

    run.json           what this run is of: recipe, corpus, split; `--resume` must find the same
    state.safetensors  where it stands
    history.jsonl      a line for each epoch
    test.csv           the answer to each clip of the test split
    model.safetensors  the model, with its card
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from streamcab.errors import CheckpointError, ConfigError, StreamcabError
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence
from streamcab_train.batches import Selection, whole_clips
from streamcab_train.calibration import fitted
from streamcab_train.card import make_card, protocol, speaker_hashes, speakers_of, taught
from streamcab_train.dataset import Dataset, gather
from streamcab_train.distilled import distilled
from streamcab_train.distributed import ProcessGroup, joined
from streamcab_train.evidence import chosen_shrinkage, fit_evidence, summed_up
from streamcab_train.fold_answers import write_answers
from streamcab_train.loop import Judged, fit, judge
from streamcab_train.manifest import PARTS, Manifest, read_manifest
from streamcab_train.recipe import Recipe, read_recipe
from streamcab_train.show import Screen, confusion_table, corpus_table, score_line

MODEL = "model.safetensors"
RUN = "run.json"
ANSWERS = "test.csv"


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
    """Train a model on the manifest `data` with the recipe `config`; what is in `out` is listed above.

    overrides  dotted recipe keys, as {"training.seed": 1, "corpus.licence": "CC0-1.0"}
    threads    of torch, for the whole process; by default as torch chooses. Other numbers round differently
    device     as torch names it
    strict     refuse a corpus in which a recording stands twice; else that is said, and it stands on one side
    cache      where features are kept; by default ~/.cache/streamcab
    Started by torchrun, the processes share each batch; the first writes and speaks, and what the others return has no
    card. They must see the same folders.
    Errors: ConfigError, CorpusError, CheckpointError. KeyboardInterrupt passes through after a line that says
    how to go on; at most the running epoch is lost.
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
        tested = [c for c, part in zip(dataset.clips, dataset.parts, strict=True) if part == "test"]
        # As it is served: at the temperature that validation chose.
        served = Confidence.of(card)(judged["test"].probabilities.astype(np.float64))
        write_answers(out / ANSWERS, dataset.architecture.labels, tested, served)
        checkpoint.save(Checkpoint(model.cpu(), card), out / MODEL)
        screen.say(confusion_table(judged["test"].scores, dataset.architecture.labels))
        for part, j in judged.items():
            screen.say(score_line(part, j.scores, card["scores"][part]))
        screen.say(f"{out / MODEL}: epoch {progress.best_epoch} of {progress.epoch}")
    return checkpoint.load(out / MODEL)


def _judged(
    model: CabCnn, recipe: Recipe, dataset: Dataset, parts: Mapping[str, Selection]
) -> tuple[dict[str, Judged], dict[str, Any]]:
    """The answers to validation and test; a model's evidence is fitted first, and then its card has more to say."""

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
    """`train`, going on where `out` is, without a word: for a pool of runs, which shows them all."""
    train(data, config, out, resume=True, console=Console(quiet=True), **options)


def cache_folder() -> Path:
    """Where features and distilled clips are kept unless another folder is given."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamcab"


@contextlib.contextmanager
def hold(out: Path, resume: bool, mark: str) -> Iterator[None]:
    """A folder to train in, made and held, one process at a time; where it is not new, the file `mark` is there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"cannot use {out} as the run's folder: {error.strerror}") from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another process is training in {out}") from None
        inside = {path.name for path in out.iterdir() if not path.name.startswith(".")}
        if inside and not resume:
            raise ConfigError(
                f"{out} is not empty; add --resume to continue its run, or choose another --out"
            )
        if inside and mark not in inside:
            raise ConfigError(f"{out} contains no run to resume (no {mark}); choose another --out")
        yield
    finally:
        os.close(held)


def _identity(recipe: Recipe, dataset: Dataset, shared: bool) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    split = hashlib.sha256(json.dumps(dataset.parts).encode()).hexdigest()[:12]
    return {
        "recipe": recipe.to_dict(),
        "labels": list(dataset.architecture.labels),
        "corpus": dataset.hash,
        "split": split,
        "shared_speakers": shared,
    }


def same_run(path: Path, identity: dict[str, Any]) -> None:
    """Write down what the run is of, or compare with what was written."""
    if not path.exists():
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(identity, indent=1) + "\n")
        os.replace(part, path)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise CheckpointError(f"{path} is damaged; start a new run in another folder") from None
    was, now = _flat(before), _flat(identity)
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) != now.get(key):
            raise ConfigError(
                f"cannot resume {path.parent}: {key} was {was.get(key)!r} and is {now.get(key)!r}; "
                "take another --out"
            )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _tell(
    dataset: Dataset, shared: bool, device: str, cache: Path, screen: Screen, ranks: ProcessGroup
) -> None:
    """The corpus and how it was split, before anything takes long."""
    if dataset.dropped:
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(dataset.dropped.items()))
        screen.say(f"dropped {sum(dataset.dropped.values())} clips: {reasons}")
    if said := dataset.twins.in_words(dataset.clips):
        screen.say(f"{said}; they are kept on one side of the split (--strict refuses them)")
    screen.say(corpus_table(dataset.counts(), f"corpus {dataset.hash}, {protocol(shared)}"))
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    processes = f", {ranks.size} processes" if ranks.size > 1 else ""
    screen.say(f"on {device}{threads}{processes}; features in {cache}")
