"""`train`: a checkpoint from a corpus."""

from pathlib import Path

import click

from streamcab.cli.options import (
    Command,
    option,
)
from streamcab.errors import ConfigError


@click.command(cls=Command)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Manifest: CSV with path, label, speaker."
)
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), help="Recipe, e.g. configs/live.toml."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--allow-shared-speakers", is_flag=True, help="Split by clip, as the paper does; scores will say so."
)
@option("--compute", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch; without it all cores.")
def train(
    data: Path,
    config: Path,
    out: Path,
    resume: bool,
    allow_shared_speakers: bool,
    compute: str,
    threads: int | None,
) -> None:
    """Train a CAB-CNN on a corpus; speakers never stand in two splits unless you say so."""
    from streamcab.compute import device_for

    try:
        from streamcab_train.run import train as run
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"training is not installed ({error.name} is missing): install streamcab from its checkout"
        ) from None
    run(
        data,
        config,
        out,
        resume=resume,
        allow_shared_speakers=allow_shared_speakers,
        device=device_for(compute),
        threads=threads,
    )
