"""The commands `streamcab keys ...`: options in, lines out. Knows click, and nothing of files."""

from pathlib import Path

import click

from streamcab.cli.command import Group, say
from streamcab.cli.options import setting_option
from streamcab.config.commands import Keys
from streamcab.config.setting import settings_of


@click.group(cls=Group)
def keys() -> None:
    """Manage the CURVE keys that protect a feed on the network. See docs/reference/feed.md."""


folder_option = setting_option(settings_of(Keys)["keys"])


@keys.command()
@click.argument("name")
@folder_option
@click.option("--allow", is_flag=True, help="Also admit this key to the daemon that uses this folder.")
def new(name: str, keys: Path | None, allow: bool) -> None:
    """Create the key pair NAME, a secret and a public file. The daemon's own key is named `server`."""
    from streamcab.feed import curve as k

    folder = keys or k.default_folder()
    secret, public = k.create(folder, name, allow)
    say(f"{secret}  secret: for {name} alone")
    say(f"{public}  public")
    if name == k.SERVER:
        say(f"Serve with: streamcab listen --keys {folder}")
        say(
            f"Put the public keys of all admitted clients into {folder / k.ALLOW}, and give each client {public}"
        )
    elif allow:
        say(f"{folder / k.ALLOW / public.name}  admitted")


@keys.command("list")
@folder_option
def show(keys: Path | None) -> None:
    """List the keys in the folder: name, public key, and whether the key is admitted."""
    from streamcab.feed import curve as k

    folder = keys or k.default_folder()
    found = k.listing(folder)
    if not found:
        click.echo(f"No keys in {folder}. Create one: streamcab keys new NAME", err=True)
    width = max((len(key.name) for key in found), default=0)
    for key in found:
        marks = ["secret here"] * key.secret + ["admitted"] * key.allowed
        say(f"{key.name:{width}}  {key.public.decode()}  {', '.join(marks)}".rstrip())
