"""Reloads settings at SIGHUP: applies those that can change, and names those that need a restart.

Output files are reopened, input files (name map, keys) are read again, and the settings that the tree declares with
`reload` are applied. The settings are applied all or none: after an error only the output files are reopened. Knows
nothing of signals, or of where settings come from.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from streamcab.config.calls import Store
from streamcab.config.files import Recordings
from streamcab.config.setting import Setting, build, settings_of, values_of
from streamcab.config.tree import Listen
from streamcab.errors import StreamcabError
from streamcab.ops.logs import Log, form_for
from streamcab.record.retention import Limits
from streamcab.source import Tunable

if TYPE_CHECKING:
    from streamcab.daemon.loop import Daemon
    from streamcab.health.jsonl import JsonLinesFile
    from streamcab.record.recorder import Recorder
    from streamcab.shards.pool import ShardPool
    from streamcab.source import Source
    from streamcab.store.writer import Keep, Writer
    from streamcab.workers.pool import WorkerPool

log = logging.getLogger("streamcab.reload")


@dataclass
class Parts:
    """The parts of a running daemon that can take new settings."""

    daemon: "Daemon | WorkerPool | ShardPool"
    sources: "Sequence[Source]"
    recorder: "Recorder | None" = None
    lines: "JsonLinesFile | None" = None
    store: "Writer | None" = None
    reopen: threading.Event = field(default_factory=threading.Event)
    """Set this to make the writer of `lines` start a new file."""
    pass_on: Callable[[Listen], None] | None = None
    """Takes the settings that hold from now on."""


class Reload:
    """`options` are those of the daemon's start; `read` returns the current ones, or raises a StreamcabError.

    `level`: of the line that says what was applied.
    """

    def __init__(
        self, options: Listen, read: Callable[[], Listen], journal: Log, level: int = logging.WARNING
    ) -> None:
        self._options = options
        self._read = read
        self.journal = journal
        self._level = level  # a warning, so that the answer appears at the default level too

    def __call__(self, parts: Parts) -> None:
        """Apply the settings that can change, and log the result; never raises a StreamcabError."""
        try:
            new = self._read()
            _retune_sources(parts, new)
        except StreamcabError as error:
            log.error("SIGHUP: settings not changed: %s", error)
            new = self._options
        trouble = self._reopen(parts, new)
        before, now = values_of(self._options), values_of(new)
        changed = [one for one in settings_of(Listen).values() if now[one.name] != before[one.name]]
        taken = [one for one in changed if one.reload]
        fixed = [one for one in changed if not one.reload]
        _retune(parts, new)
        self._options = build(Listen, before | {one.name: now[one.name] for one in taken})
        if parts.pass_on is not None:
            parts.pass_on(self._options)
        log.log(
            self._level,
            "SIGHUP: %s%s%s",
            f"applied: {_spelled(taken)}" if taken else "no reloadable setting has changed",
            f"; restart needed for: {_spelled(fixed)}" if fixed else "",
            f"; {trouble}" if trouble else "",
        )

    def _reopen(self, parts: Parts, new: Listen) -> str:
        """Reopen the output files, in case the old ones were moved away; return the errors."""
        trouble = ""
        try:
            self.journal.reopen(form_for(new.log.log_format, new.log.log_file), new.log.log_file)
            logging.getLogger().setLevel(new.log.log_level.upper())
        except StreamcabError as error:
            trouble = str(error)
        parts.reopen.set()
        return trouble


def limits(options: Recordings) -> Limits:
    """Return the limits of recordings from the options."""
    return Limits(
        max_bytes=round(options.record_max_gb * 1e9),
        max_age_s=options.record_max_days * 86_400,
        min_free_bytes=round(options.record_min_free_gb * 1e9),
    )


def _retune_sources(parts: Parts, new: Listen) -> None:
    for source in parts.sources:
        if isinstance(source, Tunable):
            source.retune(new.rtp.allow, new.rtp.name_map, new.rtp.idle)


def _retune(parts: Parts, new: Listen) -> None:
    parts.daemon.settings = replace(
        parts.daemon.settings, every_s=new.answers.every, max_lag_s=new.answers.max_lag
    )
    if parts.daemon.settings.keys is not None:
        parts.daemon.settings.keys.reread()
    if parts.recorder is not None:
        parts.recorder.retention.limits = limits(new.recordings)
    if parts.lines is not None:
        parts.lines.max_bytes = round(new.jsonl.jsonl_max_mb * 1e6)
        parts.lines.keep = new.jsonl.jsonl_keep
    if parts.store is not None:
        parts.store.keep = kept(new.store)


def kept(options: Store) -> "Keep":
    """Return what a store keeps from the options."""
    from streamcab.store.writer import Keep

    return Keep(
        calls_s=options.store_max_days * 86_400,
        pieces_s=options.store_max_detail_days * 86_400,
        min_free_bytes=round(options.store_min_free_gb * 1e9),
    )


def _spelled(settings: Sequence[Setting]) -> str:
    return ", ".join(sorted(one.option for one in settings))
