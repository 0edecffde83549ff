"""`reproduce`: the paper's tables on a corpus of one's own. Knows click, and nothing of how they come about."""

from pathlib import Path

import click

from streamcab.cli.command import Command
from streamcab.cli.options import compute_option
from streamcab.cli.train import installed, path_type


@click.command(cls=Command)
@click.option("--data", required=True, type=path_type, help="Manifest: CSV with path, label, speaker.")
@click.option(
    "--config",
    required=True,
    type=path_type,
    help="Recipe whose [corpus] and [split] say how to read it, e.g. configs/live.toml.",
)
@click.option(
    "--out", required=True, type=path_type, help="Folder of all runs; the same command goes on there."
)
@click.option("--model", "models", multiple=True, help="Only this row, such as VGG11-A; may be repeated.")
@click.option("--protocol", type=click.Choice(["disjoint", "shared"]), help="Only this one; else both.")
@click.option("--repeats", type=click.IntRange(1), help="Independent runs of each row; the paper has 8.")
@click.option("--epochs", type=click.IntRange(1), help="At most so many; without it early stopping decides.")
@click.option(
    "--batch",
    type=click.IntRange(2),
    help="Clips per batch. The paper has 128 for CAB-CNN and 48 for the baselines.",
)
@click.option(
    "--image",
    type=click.IntRange(64),
    help="Side of the baselines' images in pixels, a multiple of 64.",
)
@click.option("--speakers", type=click.IntRange(3), help="At most so many of each class.")
@click.option(
    "--pieces",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Cut each file into so many where speakers are shared: for corpora with one file for each speaker.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of each run.")
@compute_option
def reproduce(
    data: Path,
    config: Path,
    out: Path,
    models: tuple[str, ...],
    protocol: str | None,
    repeats: int | None,
    epochs: int | None,
    batch: int | None,
    image: int | None,
    speakers: int | None,
    pieces: int,
    jobs: int,
    threads: int,
    compute: str,
) -> None:
    """All rows of the paper's tables on a corpus: CAB-CNN and its baselines, speakers disjoint and shared.

    In full it takes days on a CPU. What is made smaller stands above every table.
    """
    from streamcab.errors import ConfigError
    from streamcab.nn.device import device_for

    with installed():
        from streamcab_train.reproduce import Shrunk
        from streamcab_train.reproduce import reproduce as run
        from streamcab_train.run import cache_folder
        from streamcab_train.split import DISJOINT, SHARED

    if image is not None and image % 64:
        raise ConfigError(f"--image is {image}; it must be a multiple of 64")
    whole = Shrunk()
    shrunk = Shrunk(repeats or whole.repeats, epochs or whole.epochs, batch, image, speakers, pieces)
    run(
        data,
        config,
        out,
        cache_folder(),
        shrunk,
        models=models,
        only={"disjoint": DISJOINT, "shared": SHARED}.get(protocol or "", ""),
        jobs=jobs,
        threads=threads,
        device=device_for(compute),
    )
