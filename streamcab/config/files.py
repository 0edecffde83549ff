"""Settings of the files that a daemon writes: the log, the feed as JSON lines, recordings."""

from pathlib import Path
from typing import Annotated, Literal

from streamcab.config.setting import Section, setting


class Log(Section, frozen=True):
    """The log."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], setting("Lowest level that is logged.", reload=True)
    ] = "warning"
    log_file: (
        Annotated[
            Path,
            setting("Write the log to this file.", unset="standard error", reload=True),
        ]
        | None
    ) = None
    log_format: Annotated[
        Literal["auto", "text", "json"],
        setting("auto: the journal's format if stderr is the journal, else text.", reload=True),
    ] = "auto"


Every = Annotated[
    float,
    setting(
        "Write each stream this often, its last message always; 0: every message.",
        unit="s",
        least=0,
        most=86_400,
    ),
]
Last = Annotated[bool, setting("Write only the last message of each stream.")]


class JsonLines(Section, frozen=True):
    """Copy of the feed in files of JSON lines."""

    jsonl: Annotated[Path, setting("Write the feed to this file too.", path="file")] | None = None
    jsonl_every: Every = 0.0
    jsonl_last: Last = False
    jsonl_max_mb: Annotated[
        float,
        setting("Size at which this file is rotated.", unit="MB", least=0.01, most=1_000_000, reload=True),
    ] = 100.0
    jsonl_keep: Annotated[
        int, setting("Number of older files to keep, as FILE.1 and on.", least=0, most=10_000, reload=True)
    ] = 5


class Recordings(Section, frozen=True):
    """Recordings."""

    record: (
        Annotated[Path, setting("RECORD THE AUDIO of every stream as FLAC in this folder.", path="folder")]
        | None
    ) = None
    record_max_gb: Annotated[
        float,
        setting(
            "Size of all recordings together; the oldest are deleted.",
            unit="GB",
            least=0.001,
            most=1_000_000,
            reload=True,
        ),
    ] = 1.0
    record_max_days: Annotated[
        float,
        setting(
            "Delete recordings older than this.",
            unit="days",
            least=0.001,
            most=36_500,
            reload=True,
        ),
    ] = 7.0
    record_min_free_gb: Annotated[
        float,
        setting(
            "Record nothing while the disk has less free space.",
            unit="GB",
            least=0,
            most=1_000_000,
            reload=True,
        ),
    ] = 1.0
