"""The daemon's log: in which form a line is written, where, and how many of a kind.

For people, for the journal of systemd (which wants the level as `<4>` and has a clock of its own), or as JSON.
Of one kind of line BURST come at once and PER_SECOND after that; how many were left out is said with the next one.
If the file was removed or moved away, the next line creates a new one; while it cannot be written, lines go to
standard error. Knows nothing of the messages. Nothing here raises once it has begun: a full disk must not end the
daemon.
"""

import copy
import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from streamcab.errors import StreamcabError
from streamcab.ops.linefile import LineFile
from streamcab.text import as_unicode, printable_lines

Form = Literal["text", "journal", "json"]

BURST = 50
PER_SECOND = 1.0
KINDS = 1_000
"""Kinds of lines whose number is remembered."""

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))


@dataclass(slots=True)
class _Bucket:
    """A count of the lines of one kind that may still be logged, and of those that were suppressed."""

    left: float
    filled: float
    dropped: int = 0


class Limit:
    """Passes a burst of each kind, then a fixed rate. A kind is a logger and a text without its values."""

    def __init__(
        self,
        burst: int = BURST,
        per_second: float = PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._rate, self._clock = burst, per_second, clock
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def passes(self, record: logging.LogRecord) -> int | None:
        """Return None to leave it out, else how many of its kind were left out since the last one that passed."""
        now, kind = self._clock(), (record.name, str(record.msg))
        bucket = self._buckets.setdefault(kind, _Bucket(self._burst, now))
        self._buckets.move_to_end(kind)
        if len(self._buckets) > KINDS:
            self._buckets.popitem(last=False)
        bucket.left = min(bucket.left + (now - bucket.filled) * self._rate, self._burst)
        bucket.filled = now
        if bucket.left < 1:
            bucket.dropped += 1
            return None
        bucket.left -= 1
        dropped, bucket.dropped = bucket.dropped, 0
        return dropped


class Log(logging.Handler):
    """Writes to `file`, or to standard error. StreamcabError when the file cannot be opened.

    learn  is shown each record before it becomes a line
    scrub  applied to each line before it is written
    """

    def __init__(self, form: Form = "text", file: Path | None = None) -> None:
        super().__init__()
        self.scrub: Callable[[str], str] = str
        self.learn: Callable[[logging.LogRecord], object] = id
        self.lost = 0  # lines that could be written nowhere
        self.strayed = 0  # lines that the file could not take
        self._limit = Limit()
        self._file: LineFile | None = None
        self._missing = 0  # lines, since the file cannot be written
        self._spare: logging.Formatter = _Text()
        self.reopen(form, file)

    def reopen(self, form: Form, file: Path | None) -> None:
        """Go on in `file`, new or moved away; StreamcabError when it cannot be, and all stays as it was."""
        try:
            opened = None if file is None else LineFile(file)
        except OSError as error:
            raise StreamcabError(f"cannot write the log {file}: {error.strerror}") from None
        self.acquire()  # what emits holds it
        before, self._file = self._file, opened
        self._missing = 0
        self.setFormatter(_FORMATTERS[form]())
        self._spare = _FORMATTERS[form_for("json" if form == "json" else "auto", None)]()
        self.release()
        if before is not None:
            before.close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, if its kind has not had its share."""
        dropped = self._limit.passes(record)
        if dropped is None:
            return
        self.learn(record)
        if dropped:
            record = copy.copy(record)
            record.msg, record.args = f"{record.getMessage()} ({dropped} more like this were left out)", None
        try:
            if self._file is None:
                _to_stderr(self._line(self.format(record)))
            elif not self._to_file(self._file, record):
                self.strayed += 1
                _to_stderr(self._line(self._spare.format(record)))
        except (OSError, ValueError):
            self.lost += 1

    def counters(self) -> dict[str, int]:
        """Return `log-strayed`: lines that went to standard error, since the file could not be written."""
        return {"log-strayed": self.strayed} if self.strayed else {}

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _to_file(self, file: LineFile, record: logging.LogRecord) -> bool:
        """Return whether the line is in the file. A failure to write, and its end, are reported once."""
        try:
            news = "it was removed, this is a new one" if file.renew() else ""
            if self._missing:
                some = "1 line" if self._missing == 1 else f"{self._missing} lines"
                news = f"{news}; {some} went to standard error meanwhile".lstrip("; ")
            if news:
                self._append(file, self.format(_warning(f"the log goes on: {news}")))
                self._missing = 0
            self._append(file, self.format(record))
        except OSError as error:
            if not self._missing:
                why = f"the log {file.path} cannot be written: {error.strerror}; its lines come here until it can"
                _to_stderr(self._line(self._spare.format(_warning(why))))
            self._missing += 1
            return False
        return True

    def _append(self, file: LineFile, line: str) -> None:
        file.append((self._line(line) + "\n").encode())

    def _line(self, line: str) -> str:
        """Return the text without secrets, and without codes that could control a terminal."""
        return printable_lines(self.scrub(line))


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _warning(text: str) -> logging.LogRecord:
    """Make a line of the log about itself."""
    return logging.LogRecord("streamcab.ops.logs", logging.WARNING, "", 0, text, None, None)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class _Journal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = next((number for least, number in _PRIORITIES if record.levelno >= least), 7)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": as_unicode(record.getMessage()),
        }
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            fields["trace"] = as_unicode(trace)
        return msgspec.json.encode(fields).decode()


_FORMATTERS: Mapping[Form, type[logging.Formatter]] = {"text": _Text, "journal": _Journal, "json": _Json}


def form_for(word: str, file: Path | None, environment: Mapping[str, str] = os.environ) -> Form:
    """Return the form that is meant; `auto` is the journal's where standard error is the journal."""
    if word == "json":
        return "json"
    return "journal" if word == "auto" and file is None and _is_journal(environment) else "text"


def start(level: str, form: Form = "text", file: Path | None = None) -> Log:
    """Direct all of the program's log to one place.

    Raises:
        StreamcabError: The file cannot be opened.
    """
    log = Log(form, file)
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, Log)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(log)
    root.setLevel(level.upper())
    return log


def _is_journal(environment: Mapping[str, str]) -> bool:
    try:
        device, _, inode = environment["JOURNAL_STREAM"].partition(":")
        there = os.fstat(2)
        return (there.st_dev, there.st_ino) == (int(device), int(inode))
    except (KeyError, ValueError, OSError):
        return False
