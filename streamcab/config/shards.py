"""The settings of shards on a Ray cluster: a section of the tree of `listen`."""

from pathlib import Path
from typing import Annotated

from streamcab.config.address import HostPort
from streamcab.config.setting import Section, setting

ALLOCATE = HostPort("127.0.0.1:8686")


class Shards(Section, frozen=True):
    """Shards on the machines of a Ray cluster."""

    ray: (
        Annotated[
            str,
            setting(
                "Serve calls by RTP in shards on this Ray cluster; local: one for this run.",
                metavar="HOST:PORT|local",
            ),
        ]
        | None
    ) = None
    shards: Annotated[int, setting("Number of shards.", least=1, most=256)] = 1
    allocate: Annotated[
        HostPort, setting("Tell media servers at this address (HTTP) which shard a call should go to.")
    ] = ALLOCATE
    allocate_token: (
        Annotated[Path, setting("File of the token that they send; required beyond loopback.", path="file")]
        | None
    ) = None
