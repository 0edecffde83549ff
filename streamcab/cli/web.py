"""The command `web`: a page of the feed of a daemon on any machine. Imports nothing heavy."""

import click

from streamcab.cli.command import Command, stop_on_signals
from streamcab.cli.load import client_keys
from streamcab.cli.options import config_option, endpoint_argument, settings
from streamcab.config.commands import Web


@click.command(cls=Command)
@endpoint_argument
@settings(Web)
@config_option
def web(o: Web, endpoint: str) -> None:
    """Serve a page of the daemon at ENDPOINT: every call in a browser.

    \b
    streamcab web
    streamcab web --listen 0.0.0.0:8484 --web-token FILE tcp://10.0.0.7:5557
    """
    from streamcab.feed import Subscriber
    from streamcab.web.serve import Access, bind, serve, url

    access = Access(o.web_host, o.web_token, o.web_cert, o.web_key, o.store)
    if o.store:
        from streamcab.store.read import Reader

        Reader(o.store).close()  # a wrong one is said now; one that goes away later costs the history only
    keys = client_keys(o.key, o.server_key)
    with stop_on_signals() as stop, bind(o.listen, access) as bound, Subscriber(endpoint, keys=keys) as feed:
        serve(feed, bound, access, stop, lambda: click.echo(f"page of {endpoint} on {url(bound, access)}"))
