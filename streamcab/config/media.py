"""The settings of calls over WebSocket and AudioSocket. Knows nothing of how a setting is carried out."""

from pathlib import Path
from typing import Annotated, Literal

from streamcab.config.setting import Section, setting


class Media(Section, frozen=True):
    """Calls from telephony platforms, by WebSocket and AudioSocket."""

    media: Annotated[
        tuple[str, ...],
        setting(
            "Serve WebSockets at this address; the path names the protocol, such as /twilio; repeatable.",
            metavar="HOST:PORT",
        ),
    ] = ()
    audiosocket: Annotated[
        tuple[str, ...],
        setting("Serve Asterisk's AudioSocket (TCP) at this address; repeatable.", metavar="HOST:PORT"),
    ] = ()
    media_secrets: (
        Annotated[
            Path,
            setting(
                "TOML file of the tokens and vendors' secrets by which callers are known.",
                path="file",
                unset="none: loopback addresses only",
            ),
        ]
        | None
    ) = None
    media_url: Annotated[
        str,
        setting(
            "The server's public address, over which vendors sign, e.g. wss://media.example.com.",
            metavar="URL",
        ),
    ] = ""
    media_cert: (
        Annotated[Path, setting("Certificate chain (PEM) of the WebSocket server.", path="file")] | None
    ) = None
    media_key: Annotated[Path, setting("Key (PEM) of that certificate.", path="file")] | None = None
    media_plain: Annotated[
        bool, setting("Serve other machines without TLS: behind a proxy that provides it.")
    ] = False
    media_per_address: Annotated[
        int, setting("Connections of one address at a time.", least=1, most=1_000_000)
    ] = 1000
    caller_numbers: Annotated[
        Literal["hash", "show", "hide"],
        setting(
            "How telephone numbers that a platform sends are published: as pseudonyms, as they are, or not."
        ),
    ] = "hash"
