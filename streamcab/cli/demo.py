"""The command `demo`: plays clips as live calls. Knows click; `session.py` plays and draws."""

from typing import TYPE_CHECKING

import click

from streamcab.cli.command import Command, stop_on_signals
from streamcab.cli.load import backend_maker, load_checkpoint
from streamcab.cli.notice import loaded, loading
from streamcab.cli.options import config_option, settings
from streamcab.config.address import HostPort
from streamcab.config.commands import Demo
from streamcab.errors import StreamcabError

if TYPE_CHECKING:
    from streamcab.web.child import Page

ANY = HostPort("127.0.0.1:0")


@click.command(cls=Command)
@settings(Demo)
@config_option
def demo(o: Demo) -> None:
    """Play short clips of synthetic speech as live calls, and show their classification."""
    loading()
    from streamcab.daemon.session import demo as run

    checkpoint, device = load_checkpoint(o.model, o.compute)
    backend = backend_maker(checkpoint, device, o.backend, threads=o.threads)
    page = _page(o.web)
    if page is not None:
        loaded()
        click.echo(f"page on {page.url}", err=True)
        loading()
    with stop_on_signals() as stop:
        run(checkpoint, backend, o.clips, o.endpoint, stop, view=o.view, page=page, ready=loaded)


def _page(address: HostPort | None) -> "Page | None":
    """Return the page of the demo. Unless an address was asked for, the demo also runs without."""
    from streamcab.web.child import Page
    from streamcab.web.serve import Access

    try:
        return Page(address or ANY, Access())
    except StreamcabError:
        if address is not None:
            raise
        return None
