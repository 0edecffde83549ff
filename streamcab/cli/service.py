"""The commands `streamcab service ...`: options in, lines out. Knows nothing of how one is installed."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcab.cli.command import Group, say
from streamcab.errors import ServiceError

if TYPE_CHECKING:
    from streamcab.ops.service import Systemctl
    from streamcab.ops.systemd_unit import Place


@click.group(cls=Group)
def service() -> None:
    """The daemon as a service of systemd, started at every boot and watched.

    One instance for each feed; its settings are in /etc/streamcab/INSTANCE.env. See systemd/README.md.
    """


user_option = click.option("--user", is_flag=True, help="For this user's desktop, not for the machine.")
root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="The files of a machine's image, here; start nothing.",
)
force_option = click.option("--force", is_flag=True, help="Also files that somebody has edited.")
dry_option = click.option("--dry-run", "dry", is_flag=True, help="Only say what would be done.")
any_option = click.option("--instance", metavar="NAME", help="Only this instance; without it all.")


@service.command()
@user_option
@click.option(
    "--instance", metavar="NAME", default="mic", show_default=True, help="What the instance is called."
)
@click.option("--now", is_flag=True, help="Start it, now and at every boot.")
@force_option
@dry_option
@root_option
def install(user: bool, instance: str, now: bool, force: bool, dry: bool, root: Path | None) -> None:
    """Put unit and settings in place. Files that somebody has edited are kept."""
    from streamcab.ops import service as s

    place, manager = _where(user, root, changes=not dry)
    if now and (manager is None or not manager.there):
        raise ServiceError("--now: systemd does not run here; without --now the files are put in place")
    _say(s.install(place, instance, manager, force=force, dry=dry, now=now))


@service.command()
@user_option
@any_option
@force_option
@dry_option
@root_option
def uninstall(user: bool, instance: str | None, force: bool, dry: bool, root: Path | None) -> None:
    """Stop the service and remove what `install` put. Files that somebody has edited are kept."""
    from streamcab.ops import service as s

    place, manager = _where(user, root, changes=not dry)
    _say(s.uninstall(place, instance, manager, force=force, dry=dry))


@service.command()
@user_option
@any_option
@root_option
def status(user: bool, instance: str | None, root: Path | None) -> None:
    """What is installed, and how each instance is. Exit code 1 if nothing is installed."""
    from streamcab.ops import service as s

    place, manager = _where(user, root, changes=False)
    _say(s.status(place, instance, manager))


def _where(user: bool, root: Path | None, *, changes: bool) -> "tuple[Place, Systemctl | None]":
    from streamcab.ops.service import Systemctl
    from streamcab.ops.systemd_unit import system_place, user_place

    if user and root is not None:
        raise click.UsageError("--root is for the machine's service; --user has no image.")
    if root is not None:
        return system_place(root), None
    if user:
        return user_place(Path.home(), os.environ), Systemctl(user=True)
    if changes and os.geteuid() != 0:
        raise ServiceError(
            "this changes the machine: run it as root (sudo), or with --user for this user alone"
        )
    return system_place(), Systemctl(user=False)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)
