"""`reproduce`: the paper's tables on another corpus. Knows click, and nothing of how the tables are made."""

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
    help="Recipe whose [corpus] and [split] describe the corpus, e.g. configs/live.toml.",
)
@click.option(
    "--out", required=True, type=path_type, help="Folder of all runs; the same command resumes there."
)
@click.option("--model", "models", multiple=True, help="Only this row, such as VGG11-A; repeatable.")
@click.option(
    "--protocol", type=click.Choice(["disjoint", "shared"]), help="Only this protocol.  [default: both]"
)
@click.option("--repeats", type=click.IntRange(1), help="Independent runs of each row; the paper has 8.")
@click.option(
    "--epochs", type=click.IntRange(1), help="Largest number of epochs.  [default: early stopping decides]"
)
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
@click.option("--speakers", type=click.IntRange(3), help="Largest number of speakers per class.")
@click.option(
    "--pieces",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Cut each file into this many clips in the shared protocol, for corpora with one file per speaker.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Simultaneous runs.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads per run.")
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
    """Reproduce the paper's tables on a corpus: CAB-CNN and its baselines, with disjoint and with shared speakers.

    A full run takes days on a CPU. Every table lists the settings that were made smaller.
    """
    from streamcab.errors import ConfigError
    from streamcab.nn.device import device_for

    with installed():
        from streamcab_train.reproduce import Shrunk
        from streamcab_train.reproduce import reproduce as run
        from streamcab_train.run_folder import cache_folder
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
