"""The commands `streamcab service ...`: options in, lines out. Knows nothing of how a service is installed."""

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
    """Run the daemon as a systemd service, with a watchdog.

    Each instance serves one feed. Its settings are in /etc/streamcab/INSTANCE.env. See systemd/README.md.
    """


user_option = click.option("--user", is_flag=True, help="Use this user's systemd instead of the system's.")
root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Install into the system image in this folder; start nothing.",
)
force_option = click.option("--force", is_flag=True, help="Include files that have been edited.")
dry_option = click.option("--dry-run", "dry", is_flag=True, help="Only print what would be done.")
any_option = click.option("--instance", metavar="NAME", help="Only this instance.  [default: all]")


@service.command()
@user_option
@click.option("--instance", metavar="NAME", default="mic", show_default=True, help="Name of the instance.")
@click.option("--now", is_flag=True, help="Start it now and at every boot.")
@force_option
@dry_option
@root_option
def install(user: bool, instance: str, now: bool, force: bool, dry: bool, root: Path | None) -> None:
    """Install the unit and the settings. Files that have been edited are kept."""
    from streamcab.ops import service as s

    place, manager = _where(user, root, changes=not dry)
    if now and (manager is None or not manager.there):
        raise ServiceError("--now: systemd does not run here; without --now the files are installed")
    _say(s.install(place, instance, manager, force=force, dry=dry, now=now))


@service.command()
@user_option
@any_option
@force_option
@dry_option
@root_option
def uninstall(user: bool, instance: str | None, force: bool, dry: bool, root: Path | None) -> None:
    """Stop the service and remove the installed files. Files that have been edited are kept."""
    from streamcab.ops import service as s

    place, manager = _where(user, root, changes=not dry)
    _say(s.uninstall(place, instance, manager, force=force, dry=dry))


@service.command()
@user_option
@any_option
@root_option
def status(user: bool, instance: str | None, root: Path | None) -> None:
    """Show the installed files and the state of each instance. Exit code 1 if nothing is installed."""
    from streamcab.ops import service as s

    place, manager = _where(user, root, changes=False)
    _say(s.status(place, instance, manager))


def _where(user: bool, root: Path | None, *, changes: bool) -> "tuple[Place, Systemctl | None]":
    from streamcab.ops.service import Systemctl
    from streamcab.ops.systemd_unit import system_place, user_place

    if user and root is not None:
        raise click.UsageError("--root is for the system's service; leave out --user.")
    if root is not None:
        return system_place(root), None
    if user:
        return user_place(Path.home(), os.environ), Systemctl(user=True)
    if changes and os.geteuid() != 0:
        raise ServiceError("this changes the system: run it as root (sudo), or add --user for this user only")
    return system_place(), Systemctl(user=False)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)
