"""Hides who is heard: the names of streams become hashes, the same ones for as long as the salt stays.

A hash is keyed with a secret salt, since names (addresses, numbers) are few enough to be guessed. Owns the file of the
salt, and what is known of each stream that must not be said. Knows nothing of the feed or of the log.
"""

import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from logging import LogRecord
from pathlib import Path, PurePath
from typing import Self

from streamcab.errors import ConfigError
from streamcab.source import Line

CREDENTIAL = "name-salt"
"""What systemd calls the file of the salt."""
LEAST = 16
"""Bytes of a salt."""
REMEMBERED = 10_000
"""Secrets of streams that are kept from the log, the newest."""


class Veil:
    """Hashes with `salt`; two veils of one salt give one stream the same name."""

    def __init__(self, salt: bytes) -> None:
        self._salt = blake2b(salt).digest()
        self._hidden: OrderedDict[str, str] = OrderedDict()

    @classmethod
    def load(cls, file: Path | None, environment: Mapping[str, str] = os.environ) -> Self:
        """With the salt in `file`; without one with that of this installation, made at its first use. ConfigError."""
        path = file or _default(environment)
        try:
            if file is None and not path.exists():
                _make(path)
            salt = path.read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"no salt for the names of streams in {path}: {error.strerror}") from None
        if len(salt) < LEAST:
            raise ConfigError(
                f"the salt in {path} has {len(salt)} bytes; at least {LEAST}: openssl rand -hex 32 > {path}"
            )
        return cls(salt)

    def name(self, text: str) -> str:
        """What a stream of this name is called."""
        return f"s-{blake2b(text.encode(), key=self._salt, digest_size=6).hexdigest()}"

    def cover(self, line: Line) -> str:
        """The name of a stream that begins; from now on `scrub` knows what it hides."""
        name = self.name(line.name)
        for secret in _secrets(line):
            self._hidden[secret] = name
            self._hidden.move_to_end(secret)
        while len(self._hidden) > REMEMBERED:
            self._hidden.popitem(last=False)
        return name

    def of(self, line: Line, text: str) -> str:
        """What is said of one stream, without what would tell whose it is."""
        name = self.name(line.name)
        for secret in sorted(_secrets(line), key=len, reverse=True):
            text = _replaced(text, secret, name)
        return text

    def learn(self, record: LogRecord) -> None:
        """What a source says of a stream before anybody else knows of it begins with the stream's name."""
        if record.name == "streamcab.source" and str(record.msg).startswith("%s: ") and record.args:
            name = str(next(iter(record.args)))
            self._hidden[name] = self.name(name)

    def scrub(self, text: str) -> str:
        """A line of the log, without what would tell whose streams these are."""
        found = [secret for secret in list(self._hidden) if secret in text]
        for secret in sorted(found, key=len, reverse=True):
            text = _replaced(text, secret, self._hidden.get(secret, "s-"))
        return text


def _secrets(line: Line) -> Iterator[str]:
    """The name, and what the source knows that is as good as a name: addresses, paths, devices."""
    yield line.name
    for kind, value in line.labels.items():
        if kind == "codec" or not value:
            continue
        yield value
        if kind == "file":
            path = PurePath(value)
            yield from {path.name, path.stem} - {""}
        elif kind == "source":
            yield value.rpartition(":")[0].strip("[]")


def _replaced(text: str, secret: str, name: str) -> str:
    if secret not in text:
        return text
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", name, text)


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
