"""`prepare`, `pretrain`, `train`, `evaluate`: from a corpus to a manifest, to a checkpoint, to its scores.

Knows click, and nothing of training, which is a separate, optional package.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from streamcab.cli.command import Command, say
from streamcab.cli.options import compute_option
from streamcab.errors import ConfigError

LAYOUTS = (
    "common-voice",
    "vctk",
    "speech-accent-archive",
    "l2-arctic",
    "cslu-fae",
    "ut-podcast",
    "tree",
)
"""As in streamcab_train/prepare, which --help must not import; a test compares them."""

BUNDLED, SCRATCH = "bundled", "scratch"

path_type = click.Path(path_type=Path)
cache_option = click.option(
    "--cache",
    type=path_type,
    help="Folder of the cached features, 0.1 to 0.2 GB for an hour of talk.  [default: ~/.cache/streamcab]",
)


@click.command(cls=Command)
@click.option("--data", required=True, type=path_type, help="Manifest: CSV with path, label, speaker.")
@click.option("--out", required=True, type=path_type, help="Folder of the run.")
@click.option(
    "--from",
    "start",
    metavar="bundled|scratch|FILE",
    help="Starting point: the bundled model or another checkpoint, of which only the ACB is replaced, or scratch.  "
    "[default: bundled; with --config as the recipe says]",
)
@click.option(
    "--config", type=path_type, help="Recipe, to train all layers.  [default with scratch: configs/live.toml]"
)
@click.option("--label-column", default="", help="Column with the label.  [default: label, else accent]")
@cache_option
@click.option("--resume", is_flag=True, help="Resume the run in --out.")
@click.option(
    "--allow-shared-speakers",
    is_flag=True,
    help="Split by clip, as the paper does. The scores are marked accordingly.",
)
@click.option("--strict", is_flag=True, help="Refuse a corpus that contains a recording twice.")
@click.option(
    "--folds", type=click.IntRange(2), help="Cross-validate with this many folds, with disjoint speakers."
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Repetitions of the cross-validation, each with new folds.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Simultaneous folds.")
@compute_option
@click.option("--threads", type=click.IntRange(1), help="Threads of torch.  [default: all cores; 1 per fold]")
def train(
    data: Path,
    out: Path,
    start: str | None,
    config: Path | None,
    label_column: str,
    cache: Path | None,
    resume: bool,
    allow_shared_speakers: bool,
    strict: bool,
    folds: int | None,
    repeats: int,
    jobs: int,
    compute: str,
    threads: int | None,
) -> None:
    """Train a model for the labels of a manifest; without a recipe in a minute, from the bundled model.

    The manifest is a CSV with the columns path, label (or accent) and speaker (or group). By default no speaker is in
    two splits. See docs/how-to/own-accents.md.
    """
    from streamcab.nn.checkpoint import find
    from streamcab.nn.device import device_for
    from streamcab.shipped import shipped

    if config is not None and start not in (None, SCRATCH):
        raise ConfigError(
            "--config trains all layers: leave it out with --from, or set start in its [training]"
        )
    with installed():
        from streamcab_train.distributed import leave
        from streamcab_train.folds import train_folds
        from streamcab_train.own import from_scratch, train_own
        from streamcab_train.run import train as run
    if config is None and start != SCRATCH:
        if folds is not None or repeats > 1 or jobs > 1:
            raise ConfigError("--folds, --repeats and --jobs need --config")
        train_own(
            data,
            find(None if start in (None, BUNDLED) else start),
            out,
            label_column=label_column,
            resume=resume,
            allow_shared_speakers=allow_shared_speakers,
            strict=strict,
            device=device_for(compute),
            threads=threads,
            cache=cache,
        )
        return
    overrides = {"corpus.label": label_column} if label_column else {}
    if config is None:
        config = shipped("configs/live.toml")
        if config is None:
            raise ConfigError("this installation has no configs/live.toml: name a recipe with --config")
        overrides = from_scratch(data, label_column, speakers=not allow_shared_speakers)
    if folds is not None:
        if allow_shared_speakers:
            raise ConfigError("--folds keeps speakers apart: leave out --allow-shared-speakers")
        train_folds(
            data,
            config,
            out,
            folds,
            repeats,
            resume=resume,
            jobs=jobs,
            threads=threads or 1,
            device=device_for(compute),
            strict=strict,
            overrides=overrides,
            cache=cache,
        )
        return
    if repeats > 1 or jobs > 1:
        raise ConfigError("--repeats and --jobs need --folds")
    run(
        data,
        config,
        out,
        resume=resume,
        allow_shared_speakers=allow_shared_speakers,
        strict=strict,
        device=device_for(compute),
        threads=threads,
        overrides=overrides,
        cache=cache,
    )
    leave()


@click.command(cls=Command)
@click.option("--data", required=True, type=path_type, help="Manifest: CSV with path, label, speaker.")
@click.option("--config", required=True, type=path_type, help="Recipe, e.g. configs/evidence.toml.")
@click.option("--out", required=True, type=path_type, help="Folder of the run; an existing run is resumed.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch.  [default: all cores]")
def pretrain(data: Path, config: Path, out: Path, threads: int | None) -> None:
    """Pretrain the distiller on cepstra, from the speakers of a corpus who are outside the recipe's classes."""
    with installed():
        from streamcab_train.pretrain import pretrain as run
        from streamcab_train.run_folder import cache_folder
    run(data, config, out, cache=cache_folder(), threads=threads)


@click.command(cls=Command)
@click.argument("name", type=click.Choice(LAYOUTS))
@click.argument("folder", metavar="DIR", type=path_type)
@click.option("--out", required=True, type=path_type, help="The CSV manifest to write.")
@click.option("--labels", type=path_type, help="Label map, e.g. configs/labels/us-uk-australia.toml.")
@click.option("--per-speaker", type=click.IntRange(1), help="Most clips of a speaker.  [default: all]")
def prepare(name: str, folder: Path, out: Path, labels: Path | None, per_speaker: int | None) -> None:
    """Write a manifest of the corpus in DIR, which has this layout. Only lengths are read; nothing is copied.

    Your own recordings: `prepare tree DIR`, where DIR holds LABEL/SPEAKER/FILE, e.g. irish/anna/monday.wav.
    """
    with installed():
        from streamcab_train.prepare import prepare as run
        from streamcab_train.prepare import read_labels, tell

    made = run(name, folder, out, None if labels is None else read_labels(labels, name), per_speaker)
    tell(made)
    say(f"{out}: {len(made.rows)} clips")


@click.command(cls=Command)
@click.option("--model", type=path_type, help="Checkpoint.  [default: (the bundled model)]")
@click.option("--data", required=True, type=path_type, help="Manifest: CSV with path, label, speaker.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    default="test",
    show_default=True,
    help="Part of the model's own split, for its training corpus. Use all for another corpus.",
)
@click.option("--split-column", default="", help="Column of the manifest with train, validation or test.")
@click.option("--label-column", default="", help="Column with the label.  [default: as in training]")
@click.option(
    "--out", type=path_type, help="Folder for report.json, report.md and, if matplotlib is installed, plots."
)
@click.option(
    "--fit-temperature",
    type=path_type,
    help="Fit the temperature on the validation split, and write the model to this file.",
)
@click.option(
    "--abstain-accuracy",
    type=click.FloatRange(0, 1),
    help="Find the confidence, on the validation split, above which answers reach this accuracy.",
)
@click.option("--allow-shared-speakers", is_flag=True, help="Include speakers of the training split.")
@compute_option
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of torch.")
def evaluate(
    model: Path | None,
    data: Path,
    split: str,
    split_column: str,
    label_column: str,
    out: Path | None,
    fit_temperature: Path | None,
    abstain_accuracy: float | None,
    allow_shared_speakers: bool,
    compute: str,
    threads: int,
) -> None:
    """Evaluate a model on unseen speakers: scores, confidence intervals, calibration, groups."""
    with installed():
        from streamcab_train.evaluate import evaluate as run
        from streamcab_train.run_folder import cache_folder

    from streamcab.nn.device import device_for

    run(
        data,
        model,
        cache_folder(),
        split=split,
        split_column=split_column,
        label_column=label_column,
        out=out,
        fit=fit_temperature,
        abstain_accuracy=abstain_accuracy,
        allow_shared=allow_shared_speakers,
        device=device_for(compute),
        threads=threads,
    )


@contextmanager
def installed() -> Iterator[None]:
    """Turn a missing training package into an error that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "streamcab_train":
            raise
        raise ConfigError("training is not installed: install streamcab from its checkout") from None
