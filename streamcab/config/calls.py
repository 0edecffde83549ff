"""Settings of the store of calls and of the sinks: sections of the tree of `listen`."""

from pathlib import Path
from typing import Annotated

from streamcab.config.setting import Section, setting

SinkQueue = Annotated[
    Path,
    setting("File of what is not delivered yet.", path="file", unset="~/.local/state/streamcab/sinks.db"),
]


class Store(Section, frozen=True):
    """Calls in a database."""

    store: (
        Annotated[
            str,
            setting(
                "Keep a row per call and per 10 s of it: a SQLite file, or postgresql://USER@HOST/NAME.",
                metavar="FILE|URL",
            ),
        ]
        | None
    ) = None
    store_max_days: Annotated[
        float,
        setting("Delete calls older than this.", unit="days", least=0.001, most=36_500, reload=True),
    ] = 30.0
    store_max_detail_days: Annotated[
        float,
        setting(
            "Delete the rows per 10 s older than this.", unit="days", least=0.001, most=36_500, reload=True
        ),
    ] = 7.0
    store_min_free_gb: Annotated[
        float,
        setting(
            "Write nothing to a SQLite file while the disk has less free space.",
            unit="GB",
            least=0,
            most=1_000_000,
            reload=True,
        ),
    ] = 1.0


class Sinks(Section, frozen=True):
    """Calls sent elsewhere."""

    webhook: (
        Annotated[str, setting("POST a JSON event to this URL when a call ends, signed.", metavar="URL")]
        | None
    ) = None
    webhook_secret: (
        Annotated[Path, setting("File of the secret that signs webhooks; two lines: both sign.", path="file")]
        | None
    ) = None
    redis: Annotated[str, setting("Append these events to a Redis stream.", metavar="URL")] | None = None
    redis_stream: Annotated[str, setting("Key of that stream.", metavar="KEY")] = "streamcab"
    nats: Annotated[str, setting("Publish these events to NATS JetStream.", metavar="URL")] | None = None
    nats_subject: Annotated[str, setting("Subject of these messages.", metavar="SUBJECT")] = "streamcab.calls"
    sink_every: Annotated[
        float,
        setting(
            "Send an event of every call this often too, to the nearest 5 s; 0: at its end only.",
            unit="s",
            least=0,
            most=86_400,
        ),
    ] = 0.0
    sink_queue: SinkQueue | None = None
