"""CURVE keys as files: creating and reading them, and the folder of admitted clients.

A pair NAME is two files in the form that czmq and pyzmq use too: NAME.key, for everybody, and NAME.key_secret, for
its owner alone. The folder of a daemon holds the pair `server`, and in `allow` the public keys of those it serves.
Owns these files and their permissions. Knows nothing of sockets or messages.
"""

import logging
import os
import re
import stat
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import zmq
from zmq.utils import z85

from streamcab.errors import ConfigError

log = logging.getLogger("streamcab.keys")

SERVER = "server"
ALLOW = "allow"
PUBLIC = ".key"
SECRET = ".key_secret"
CREDENTIAL = "curve-secret"  # what systemd calls the secret file of the server
MAX_FILE = 1 << 16  # bytes that a file of keys has at most
SETTLED_NS = 2_000_000_000  # a file younger than this may change once more without a new time stamp

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LINE = re.compile(r'^\s*(public|secret)-key\s*=\s*"([^"]*)"\s*$', re.MULTILINE)


@dataclass(frozen=True)
class Pair:
    """Two halves of one key, in Z85 as ZeroMQ takes them."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def random(cls) -> Self:
        """Make a new random pair."""
        return cls(*zmq.curve_keypair())


@dataclass(frozen=True)
class ClientKeys:
    """The keys of a subscriber: its own pair and the server's public key."""

    own: Pair
    server: bytes

    @classmethod
    def load(cls, key: Path | str, server_key: Path | str) -> Self:
        """Load the subscriber's secret file and the server's public one.

        Raises:
            ConfigError: Either is wrong.
        """
        return cls(read_pair(Path(key)), read_public(Path(server_key)))


class ServerKeys:
    """The pair of a daemon, and the clients that it admits: those in the folder `allow` at this moment.

    ConfigError when `folder` holds no such things. `credentials` is the folder that systemd keeps secrets in,
    if any.
    """

    def __init__(self, folder: Path, credentials: str | None = None) -> None:
        secret = folder / f"{SERVER}{SECRET}"
        if credentials is not None and os.path.exists(os.path.join(credentials, CREDENTIAL)):
            secret = Path(credentials, CREDENTIAL)
        elif not os.path.exists(secret):
            raise ConfigError(
                f"there is no {secret}: make it with `streamcab keys new {SERVER} --keys {folder}`"
            )
        self.pair = read_pair(secret)
        self.folder = folder / ALLOW
        if not os.path.isdir(self.folder):
            raise ConfigError(
                f"there is no folder {self.folder}: make it, for the public keys of those who may listen"
            )
        self.local = ClientKeys(Pair.random(), self.pair.public)
        """For a subscriber in the daemon's own process: lives as long as this does."""
        self._local = z85.decode(self.local.own.public)
        self._allowed: dict[bytes, str] = {}
        self._seen: set[tuple[object, ...]] | None = None
        self.refresh()
        if not self._allowed:
            log.warning("no subscriber is allowed yet: put public keys (NAME%s) into %s", PUBLIC, self.folder)

    def reread(self) -> int:
        """Reads the folder at the next handshake, changed or not; how many may listen now."""
        self._seen = None
        return len(self._allowed)

    def refresh(self) -> None:
        """Looks whether the folder has changed, and reads it again if so."""
        newest, files = 0, []
        seen: set[tuple[object, ...]] = set()
        trouble = ""
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    if not entry.name.endswith(PUBLIC):
                        continue
                    try:
                        s = entry.stat()
                    except OSError:  # removed meanwhile, or a link to nowhere
                        continue
                    if stat.S_ISREG(s.st_mode):
                        seen.add((entry.name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
                        newest = max(newest, s.st_mtime_ns, s.st_ctime_ns)
                        files.append(entry.path)
        except OSError as error:
            trouble = error.strerror or str(error)
            seen.add((trouble,))
        if seen == self._seen:
            return
        if trouble:
            log.warning("no new subscriber can be admitted: cannot read %s: %s", self.folder, trouble)
        allowed = {}
        for file in sorted(files):
            try:
                allowed[z85.decode(read_public(Path(file)))] = Path(file).name.removesuffix(PUBLIC)
            except ConfigError as error:
                log.warning("ignored: %s", error)
        self._allowed = allowed
        self._seen = seen if time.time_ns() - newest > SETTLED_NS else None

    def name(self, public: bytes) -> str | None:
        """Return the owner of a key, given as 32 raw bytes; None if it is unknown."""
        return "local" if public == self._local else self._allowed.get(public)


def default_folder() -> Path:
    """Return the folder of this user's keys."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "streamcab", "keys")


def create(folder: Path, name: str, allow: bool = False) -> tuple[Path, Path]:
    """Makes the pair `name` in `folder`: its secret and its public file. Nothing is ever overwritten.

    `allow`: a copy of the public file goes into the folder of those who may listen. ConfigError when it
    cannot be done.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a key: letters, digits and . _ @ - only, at most 64")
    pair = Pair.random()
    public = f'curve\n    public-key = "{pair.public.decode()}"\n'
    secret = f'{public}    secret-key = "{pair.secret.decode()}"\n'
    wanted = [
        (folder / f"{name}{SECRET}", f"# Secret key of {name}: for its owner alone.\n{secret}", 0o600),
        (folder / f"{name}{PUBLIC}", f"# Public key of {name}.\n{public}", 0o644),
    ]
    if allow:
        wanted.append((folder / ALLOW / f"{name}{PUBLIC}", f"# Public key of {name}.\n{public}", 0o644))
    done: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if allow or name == SERVER:
            (folder / ALLOW).mkdir(exist_ok=True)
        for path, text, mode in wanted:
            _write(path, text, mode)
            done.append(path)
    except OSError as error:
        for path in done:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise ConfigError(
                f"{error.filename} is there already and stays as it is: choose another name, or move it away"
            ) from None
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None
    return wanted[0][0], wanted[1][0]


@dataclass(frozen=True)
class Listed:
    """A key in a folder; whether its secret half is there too, and whether its holder may listen."""

    name: str
    public: bytes
    secret: bool
    allowed: bool


def listing(folder: Path) -> list[Listed]:
    """List the keys in `folder` and in its folder `allow`, by name; raise ConfigError for a file that is no key."""
    admitted = {path: read_public(path) for path in (folder / ALLOW).glob(f"*{PUBLIC}")}
    found = admitted | {path: read_public(path) for path in folder.glob(f"*{PUBLIC}")}
    names = sorted({(path.name.removesuffix(PUBLIC), public) for path, public in found.items()})
    return [
        Listed(name, public, os.path.exists(folder / f"{name}{SECRET}"), public in admitted.values())
        for name, public in names
    ]


def read_public(path: Path) -> bytes:
    """Read the public half of the key in a file; raise ConfigError when there is none."""
    return _halves(path, "public")["public"]


def read_pair(path: Path) -> Pair:
    """Read both halves of the key in a secret file; raise ConfigError for another file, or if others could read it."""
    halves = _halves(path, "secret")
    try:
        public = zmq.curve_public(halves["secret"])
    except zmq.ZMQError:
        raise ConfigError(f"{path} holds no key: its secret half is damaged") from None
    if public != halves.get("public", public):
        raise ConfigError(f"{path} holds halves of two keys: make a new pair with `streamcab keys new NAME`")
    s = path.stat()
    if s.st_uid == os.geteuid() and s.st_mode & 0o077:  # another owner's modes are his business, as in ssh
        raise ConfigError(f"{path} can be read by others: chmod 600 it, or make a new pair if it was copied")
    return Pair(public, halves["secret"])


def _halves(path: Path, wanted: str) -> dict[str, bytes]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(MAX_FILE)
    except OSError as error:
        raise ConfigError(f"cannot read the key {path}: {error.strerror}") from None
    halves = {half: value.encode("ascii", "replace") for half, value in _LINE.findall(text)}
    if wanted not in halves:
        hint = f"; the secret one ends in {SECRET}" if "public" in halves else ""
        raise ConfigError(f"{path} holds no {wanted} key{hint}")
    try:
        for value in halves.values():
            if len(value) != 40 or len(z85.decode(value)) != 32:
                raise ValueError
    except (ValueError, KeyError, struct.error):
        raise ConfigError(f"{path} holds no key: a half is damaged") from None
    return halves


def _write(path: Path, text: str, mode: int) -> None:
    """Write a new file that never was readable for more than `mode` says, whatever the umask."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(number, "w", encoding="ascii") as file:
        os.fchmod(number, mode)
        file.write(text)


class OneClient(ServerKeys):
    """Implements ServerKeys for a single client, known by its public key."""

    def __init__(self, pair: Pair, client: bytes) -> None:
        self.pair = pair
        self.local = ClientKeys(Pair.random(), pair.public)
        self._local = z85.decode(client)
        self._allowed = {}

    def refresh(self) -> None:
        """See ServerKeys."""

    def reread(self) -> int:
        """See ServerKeys."""
        return 1
