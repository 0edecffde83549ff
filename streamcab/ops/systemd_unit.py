"""Plans the files of the service: where unit and settings go, which of them exist already, and how to remove them.

A file that was edited is never overwritten, and a file that streamcab did not install is never removed. Every installed
file carries a seal, a hash of itself in its first line, so that an edit shows even after an upgrade. Plans over texts:
touches no file and knows nothing of systemctl.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamcab.errors import ServiceError

UNIT = "streamcab@.service"
EXEC = "ExecStart=streamcab "
SEAL = "# Put here by `streamcab service install`; sha256 of the rest: "
INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
Found = Callable[[Path], str | None]
"""The text of a file, None when there is none."""


@dataclass(frozen=True)
class Place:
    """The folders in which a systemd manager looks for units, and our units for settings."""

    units: Path
    settings: Path
    user: bool

    @property
    def unit(self) -> Path:
        """The template of all instances."""
        return self.units / UNIT

    def settings_of(self, instance: str) -> Path:
        """Return the path of an instance's settings."""
        return self.settings / f"{instance}.env"


def system_place(root: Path = Path("/")) -> Place:
    """Return the places for the machine, or for an image of one below `root`."""
    return Place(root / "etc/systemd/system", root / "etc/streamcab", False)


def user_place(home: Path, environment: Mapping[str, str]) -> Place:
    """Return the places for one user."""
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    return Place(config / "systemd/user", config / "streamcab", True)


@dataclass(frozen=True)
class Step:
    """One file: put, keep or remove it. `old`: its previous text, to be kept beside it as FILE.old."""

    verb: Literal["put", "same", "keep", "remove"]
    path: Path
    text: str = ""
    why: str = ""
    old: str | None = None

    def words(self, *, dry: bool = False) -> str:
        """Return the action in words; with `dry` as one that would be taken."""
        verbs = {"put": "would put", "same": "would leave", "keep": "would keep", "remove": "would remove"}
        done = {"put": "put", "same": "up to date", "keep": "kept", "remove": "removed"}
        verb = verbs[self.verb] if dry else done[self.verb]
        if self.old is not None:
            return f"{verb} {self.path} (what stood there: {self.path.name}.old)"
        return f"{verb} {self.path}{f' ({self.why})' if self.why else ''}"


def sealed(text: str) -> str:
    """Return a text with its seal before it."""
    return f"{SEAL}{_hash(text)}\n{text}"


def standing(text: str | None) -> Literal["missing", "ours", "edited", "foreign"]:
    """Classify a file: as installed, installed and edited, or foreign."""
    if text is None:
        return "missing"
    first, _, rest = text.partition("\n")
    if not first.startswith(SEAL):
        return "foreign"
    return "ours" if first == SEAL + _hash(rest) else "edited"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unit_text(template: str, program: Sequence[str]) -> str:
    """Return a unit of ours that starts `program`; raise ServiceError for a path that no unit can spell."""
    for word in program:
        if not re.fullmatch(r"[^\x00-\x1f\x7f\"'\\$;]+", word):
            raise ServiceError(
                f"the path {word!r} cannot stand in a unit: install streamcab in a plainer place"
            )
    # %% is a percent sign to systemd; quotes keep blanks together.
    spelled = [f'"{w}"' if " " in w else w for w in (w.replace("%", "%%") for w in program)]
    assert template.count(f"\n{EXEC}") == 1, template
    return template.replace(f"\n{EXEC}", f"\nExecStart={' '.join(spelled)} ")


def check_instance(name: str) -> str:
    """Return the name if it is a valid name of an instance."""
    if not INSTANCE.fullmatch(name):
        raise ServiceError(f"{name!r} cannot name an instance: letters, digits, _ . and - only, e.g. mic")
    return name


def plan_install(
    place: Place, unit: str, settings: str, instance: str, found: Found, force: bool
) -> list[Step]:
    """Plan to put the unit and the instance's settings into their places; edited ones are kept unless `force`."""
    steps = []
    for path, text in ((place.unit, unit), (place.settings_of(check_instance(instance)), settings)):
        there, wanted = found(path), sealed(text)
        if there == wanted:
            steps.append(Step("same", path))
        elif standing(there) in ("missing", "ours"):
            steps.append(Step("put", path, wanted))
        elif force:
            steps.append(Step("put", path, wanted, old=there))
        elif path == place.unit:
            whose = "edited" if standing(there) == "edited" else "not put there by streamcab"
            steps.append(Step("keep", path, why=f"{whose}; --force replaces it"))
        else:
            steps.append(Step("keep", path, why="your settings"))
    return steps


def plan_uninstall(
    place: Place, settings: Iterable[Path], unit: bool, found: Found, force: bool
) -> list[Step]:
    """Plan to remove settings and, if `unit`, the unit; foreign files are kept, edited ones unless `force`."""
    steps = []
    for path in [*sorted(settings), *([place.unit] if unit else [])]:
        what = standing(found(path))
        if what == "ours" or (what == "edited" and force):
            steps.append(Step("remove", path))
        elif what == "edited":
            steps.append(Step("keep", path, why="edited; --force removes it"))
        elif what == "foreign":
            steps.append(Step("keep", path, why="not put there by streamcab"))
    return steps
