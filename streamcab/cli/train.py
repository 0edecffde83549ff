"""`prepare`, `pretrain`, `train`, `evaluate`: from a corpus to a manifest, to a checkpoint, to its scores.

Knows click, and nothing of training: that is a package of its own, which need not be there.
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
"""As in streamcab_train/prepare, which is not imported for --help; a test compares."""

path_type = click.Path(path_type=Path)


@click.command(cls=Command)
@click.option("--data", required=True, type=path_type, help="Manifest: CSV with path, label, speaker.")
@click.option("--config", required=True, type=path_type, help="Recipe, e.g. configs/live.toml.")
@click.option("--out", required=True, type=path_type, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--allow-shared-speakers", is_flag=True, help="Split by clip, as the paper does; scores will say so."
)
@click.option("--strict", is_flag=True, help="Refuse a corpus in which a recording stands twice.")
@click.option("--folds", type=click.IntRange(2), help="Train and judge so many folds, speakers disjoint.")
@click.option(
    "--repeats", type=click.IntRange(1), default=1, show_default=True, help="Folds drawn anew so often."
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Folds at a time.")
@compute_option
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of torch; without it all cores, of folds 1 each."
)
def train(
    data: Path,
    config: Path,
    out: Path,
    resume: bool,
    allow_shared_speakers: bool,
    strict: bool,
    folds: int | None,
    repeats: int,
    jobs: int,
    compute: str,
    threads: int | None,
) -> None:
    """Train a CAB-CNN on a corpus; speakers never stand in two splits unless you say so."""
    from streamcab.nn.device import device_for

    with installed():
        from streamcab_train.distributed import leave
        from streamcab_train.folds import train_folds
        from streamcab_train.run import train as run
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
        )
        return
    if repeats > 1 or jobs > 1:
        raise ConfigError("--repeats and --jobs are of folds: add --folds")
    run(
        data,
        config,
        out,
        resume=resume,
        allow_shared_speakers=allow_shared_speakers,
        strict=strict,
        device=device_for(compute),
        threads=threads,
    )
    leave()


@click.command(cls=Command)
@click.option("--data", required=True, type=path_type, help="Manifest: CSV with path, label, speaker.")
@click.option("--config", required=True, type=path_type, help="Recipe, e.g. configs/evidence.toml.")
@click.option(
    "--out", required=True, type=path_type, help="Folder of the run; one that is there is gone on with."
)
@click.option("--threads", type=click.IntRange(1), help="Threads of torch; without it all cores.")
def pretrain(data: Path, config: Path, out: Path, threads: int | None) -> None:
    """Train the distiller to predict cepstra, on the speakers of a corpus who are in none of the recipe's classes."""
    with installed():
        from streamcab_train.pretrain import pretrain as run
        from streamcab_train.run import cache_folder
    run(data, config, out, cache=cache_folder(), threads=threads)


@click.command(cls=Command)
@click.argument("name", type=click.Choice(LAYOUTS))
@click.argument("folder", metavar="DIR", type=path_type)
@click.option("--out", required=True, type=path_type, help="The manifest to write, a CSV.")
@click.option("--labels", type=path_type, help="Label map, e.g. configs/labels/us-uk-australia.toml.")
def prepare(name: str, folder: Path, out: Path, labels: Path | None) -> None:
    """Make a manifest of the corpus NAME that lies in DIR. Reads lengths only; copies nothing."""
    with installed():
        from streamcab_train.prepare import prepare as run
        from streamcab_train.prepare import read_labels, tell

    made = run(name, folder, out, None if labels is None else read_labels(labels, name))
    tell(made)
    say(f"{out}: {len(made.rows)} clips")


@click.command(cls=Command)
@click.option("--model", type=path_type, help="Checkpoint; without it the bundled model.")
@click.option("--data", required=True, type=path_type, help="Manifest: CSV with path, label, speaker.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    default="test",
    show_default=True,
    help="Of the model's own split, if this is the corpus that it was trained on; of another corpus: all.",
)
@click.option("--split-column", default="", help="Column of the manifest that says train, validation, test.")
@click.option("--label-column", default="", help="Column of the label; without it as in training.")
@click.option("--out", type=path_type, help="Folder for report.json, report.md and, with matplotlib, plots.")
@click.option(
    "--fit-temperature",
    type=path_type,
    help="Fit it on validation, and write the model with it to this file.",
)
@click.option(
    "--abstain-accuracy",
    type=click.FloatRange(0, 1),
    help="Find on validation below which confidence not to answer, for this accuracy.",
)
@click.option("--allow-shared-speakers", is_flag=True, help="Judge by voices that were trained on, too.")
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
    """Judge a model on speakers that it never heard: scores, intervals, calibration, groups."""
    with installed():
        from streamcab_train.evaluate import evaluate as run
        from streamcab_train.run import cache_folder

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
    """Training is a package of its own: say so where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "streamcab_train":
            raise
        raise ConfigError("training is not installed: install streamcab from its checkout") from None
