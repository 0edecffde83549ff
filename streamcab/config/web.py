"""The settings of the page: those of `listen --web`, and of `streamcab web`."""

from pathlib import Path
from typing import Annotated

from streamcab.config.address import HostPort
from streamcab.config.setting import Section, setting

PAGE = HostPort("127.0.0.1:8484")

Hosts = Annotated[
    tuple[str, ...],
    setting("A name by which browsers may call the page's host; repeatable.", metavar="NAME"),
]
Token = Annotated[
    Path, setting("File of the token that opens the page; required beyond loopback.", path="file")
]
Cert = Annotated[Path, setting("Certificate (PEM) of the page, for HTTPS.", path="file")]
CertKey = Annotated[Path, setting("Key (PEM) of that certificate.", path="file")]


class Page(Section, frozen=True):
    """The page for browsers."""

    web: (
        Annotated[HostPort, setting("Serve a page of the feed at this address; port 0: any free port.")]
        | None
    ) = None
    web_host: Hosts = ()
    web_token: Token | None = None
    web_cert: Cert | None = None
    web_key: CertKey | None = None
