"""Replaces the names of streams by hashes. A name keeps its hash for as long as the salt stays the same.

A hash is keyed with a secret salt, since names (addresses, numbers) are few enough to be guessed. Owns the salt file,
and the parts of each stream's description that must not be published. Knows nothing of the feed.
"""

import json
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from logging import LogRecord
from pathlib import Path, PurePath
from typing import Self

from streamcab.errors import ConfigError, StreamcabError
from streamcab.source import Line
from streamcab.text import as_unicode, printable, read_bytes, stream_name

CREDENTIAL = "name-salt"
"""Name of the salt's file under systemd."""
LEAST = 16
"""Bytes of a salt."""
REMEMBERED = 10_000
"""Secrets of streams that are kept from the log, the newest: of those who begin, speak or are spoken of."""


class Pseudonyms:
    """Hashes with `salt`. Two instances with one salt give a stream the same pseudonym."""

    def __init__(self, salt: bytes) -> None:
        self._salt = blake2b(salt).digest()
        self._known: dict[str, str] = {}
        self._hidden: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()  # sources speak in threads of their own

    @classmethod
    def load(cls, file: Path | None, environment: Mapping[str, str] = os.environ) -> Self:
        """Load the pseudonyms with the salt in `file`; without one with that of this installation, made at its first
        use; raise ConfigError."""
        path = file or _default(environment)
        try:
            if file is None and not path.exists():
                _make(path)
            salt = read_bytes(path).strip()
        except OSError as error:
            raise ConfigError(f"no salt for the names of streams in {path}: {error.strerror}") from None
        if len(salt) < LEAST:
            raise ConfigError(
                f"the salt in {path} has {len(salt)} bytes; at least {LEAST}: openssl rand -hex 32 > {path}"
            )
        return cls(salt)

    @classmethod
    def of_this_installation(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Load the pseudonyms of this installation; None if nothing has been hidden here. Makes no salt."""
        path = _default(environment)
        return cls.load(path) if path.exists() else None

    def name(self, text: str) -> str:
        """Return the pseudonym of a stream."""
        return f"s-{blake2b(text.encode(), key=self._salt, digest_size=6).hexdigest()}"

    def know(self, *sources: Path | str) -> None:
        """Hide the names of files and devices for good, before any of their streams begins."""
        for source in sources:
            text = str(source)
            if not text.isdigit():  # a device's index tells nothing
                self._known |= dict.fromkeys(
                    _forms(_of_path(text)), self.name(stream_name(PurePath(text).stem))
                )

    def cover(self, line: Line) -> str:
        """Return the name of a stream that begins; from now on `scrub` hides its own name."""
        name = self.name(line.name)
        self._hide(_secrets(line), name)
        return name

    def of(self, line: Line, text: str) -> str:
        """Return a text about one stream, without the parts that would identify it."""
        return _replaced(text, dict.fromkeys(_forms(_secrets(line)), self.name(line.name)))

    def learn(self, record: LogRecord) -> None:
        """Learn names from a log record: sources mention streams before anything else knows of them."""
        line = getattr(record, "line", None)
        if isinstance(line, Line):
            self.cover(line)
        for value in record.args if isinstance(record.args, tuple) else ():
            if isinstance(value, StreamcabError):
                self._blame(value)

    def scrub(self, text: str) -> str:
        """Return a line of the log, without the identities of streams."""
        with self._lock:
            hidden = self._hidden | self._known
        return _replaced(text, hidden)

    def cleaned(self, error: StreamcabError) -> StreamcabError:
        """Return the same error, without the identities of streams."""
        self._blame(error)
        return type(error)(self.scrub(str(error)))

    def _blame(self, error: StreamcabError) -> None:
        for secret in error.secrets:
            self._hide([secret], self.name(stream_name(secret)))

    def _hide(self, secrets: Iterable[str], name: str) -> None:
        with self._lock:
            for secret in _forms(secrets):
                self._hidden[secret] = name
                self._hidden.move_to_end(secret)
            while len(self._hidden) > REMEMBERED:
                self._hidden.popitem(last=False)


def _secrets(line: Line) -> Iterator[str]:
    """Yield the name, and all that identifies the stream as well: addresses, paths, devices."""
    yield line.name
    for kind, value in list(line.labels.items()):
        if kind == "codec":
            continue
        yield value
        if kind == "file":
            yield from _of_path(value)
        elif kind == "source":
            yield value.rpartition(":")[0].strip("[]")
        elif kind == "device":
            yield re.sub(r"\s*\((plug)?hw:.*", "", value)


def _of_path(text: str) -> Iterator[str]:
    path = PurePath(text)
    yield from (text, str(path), path.name, path.stem, stream_name(path.stem))


def _forms(secrets: Iterable[str]) -> Iterator[str]:
    """Yield secrets as they are, as Python and JSON quote them, and with bytes that are not text escaped."""
    for secret in secrets:
        if secret and secret != "*":
            plain = secret.encode(errors="backslashreplace").decode()
            forms = {secret, plain, printable(secret), as_unicode(secret)}
            yield from {*forms, repr(secret)[1:-1], *(json.dumps(f, ensure_ascii=False)[1:-1] for f in forms)}


def _replaced(text: str, hidden: Mapping[str, str]) -> str:
    """Return `text` with the names for the secrets, the longest first; no part of a word is one."""
    for secret in sorted((secret for secret in hidden if secret in text), key=len, reverse=True):
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", hidden[secret], text)
    return text


def _default(environment: Mapping[str, str]) -> Path:
    if credentials := environment.get("CREDENTIALS_DIRECTORY"):
        path = Path(credentials, CREDENTIAL)
        if path.exists():
            return path
    if state := environment.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0], CREDENTIAL)
    home = environment.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(home, "streamcab", CREDENTIAL)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(number, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
