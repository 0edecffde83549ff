"""The daemon as a service of systemd: carries out the plan of `systemd_unit.py`, and calls systemctl for the rest.

Knows nothing of the command line or of the daemon.
"""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from streamcab.errors import ServiceError
from streamcab.ops.systemd_unit import (
    INSTANCE,
    UNIT,
    Place,
    Step,
    check_instance,
    plan_install,
    plan_uninstall,
    standing,
    unit_text,
)
from streamcab.shipped import PACKAGE, shipped

SOURCES = {False: UNIT, True: "streamcab-user.service"}
SETTINGS = "streamcab.env.example"
"""The files of systemd/ that are put in place: units by whether they are of a user, and settings."""
UNSEEN = ("home", "root", "run/user", "tmp", "var/tmp")
"""Folders that ProtectHome= and PrivateTmp= hide from the system unit."""


def read(path: Path) -> str | None:
    """Read a file as text, None when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ServiceError(f"cannot read {path}: {error.strerror}") from None


def carry_out(steps: Iterable[Step]) -> None:
    """Carry out a step. A file is written completely or not at all."""
    for step in steps:
        try:
            if step.verb == "put":
                step.path.parent.mkdir(parents=True, exist_ok=True)
                if step.old is not None:
                    _write(step.path.with_name(step.path.name + ".old"), step.old)
                _write(step.path, step.text)
            elif step.verb == "remove":
                step.path.unlink()
        except OSError as error:
            raise ServiceError(f"cannot {step.verb} {step.path}: {error.strerror}") from None


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)


def template(name: str) -> str:
    """Return the text of a file of systemd/."""
    path = shipped(Path("systemd", name))
    if path is None:
        raise ServiceError(f"{name} did not come with this installation of streamcab: install it again")
    return path.read_text(encoding="utf-8")


def program() -> list[str]:
    """Return the words that start this very installation."""
    script = Path(sys.executable).with_name("streamcab")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "streamcab"]


def unreachable(paths: Iterable[Path]) -> str | None:
    """Return why the user of the system service could not run the programs at these paths; None if it could."""
    for path in paths:
        for p in (path, path.resolve()):
            hidden = next((f"/{u}" for u in UNSEEN if p.is_relative_to(f"/{u}")), None)
            if hidden:
                return f"{p} lies in {hidden}, which is hidden from system services"
            for q in (p, *p.parents):
                if not q.stat().st_mode & (stat.S_IXOTH if q.is_dir() else stat.S_IROTH):
                    return f"{q} is closed to other users (mode {stat.S_IMODE(q.stat().st_mode):04o})"
    return None


class Systemctl:
    """The manager of services: the machine's, or this user's."""

    def __init__(self, user: bool, environment: Mapping[str, str] = os.environ) -> None:
        self._words = ["systemctl", "--user"] if user else ["systemctl"]
        self.there = (
            Path(environment.get("XDG_RUNTIME_DIR") or "/nowhere", "systemd/private").exists()
            if user
            else Path("/run/systemd/system").is_dir()
        )
        """Whether there is one to talk to."""

    def spelled(self, *words: str) -> str:
        """Spell a command as a user would type it."""
        return " ".join([*self._words, *words])

    def __call__(self, *words: str) -> str:
        """Run it, and return its output; raise ServiceError, with its last line, when it fails."""
        try:
            done = subprocess.run([*self._words, *words], capture_output=True, text=True)
        except OSError as error:
            raise ServiceError(f"{self.spelled(*words)}: {error.strerror}") from None
        if done.returncode:
            why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise ServiceError(f"{self.spelled(*words)}: {why}")
        return done.stdout


def install(
    place: Place, instance: str, manager: Systemctl | None, *, force: bool, dry: bool, now: bool
) -> Iterator[str]:
    """Install everything and yield a line for each step; without a `manager`, install the files only."""
    words = program()
    if not place.user and manager is not None:
        why = unreachable([Path(words[0]), Path(sys.base_prefix), PACKAGE])
        if why:
            raise ServiceError(
                f"{why}: install streamcab in, say, /opt, or the service of this user with --user"
            )
    unit = unit_text(template(SOURCES[place.user]), words)
    steps = plan_install(place, unit, template(SETTINGS), instance, read, force)
    yield from _carried_out(steps, manager, dry)
    name, settings = f"streamcab@{instance}", place.settings_of(instance)
    if manager is None:
        return
    if not now:
        yield f"next: edit {settings}, then: {manager.spelled('enable', '--now', name)}"
    elif dry:
        yield f"would start {name}, at every boot too"
    else:
        manager("enable", name)
        manager("restart", name)
        yield f"started {name}, and at every {'login' if place.user else 'boot'}"


def uninstall(
    place: Place, instance: str | None, manager: Systemctl | None, *, force: bool, dry: bool
) -> Iterator[str]:
    """Stop one instance, or all, remove the installed files, and yield a line for each step."""
    mine = {place.settings_of(check_instance(instance))} if instance else set(_settings(place))
    others = set(_settings(place)) - mine
    unit = not others
    steps = plan_uninstall(place, mine, unit, read, force)
    if others and read(place.unit) is not None:
        names = ", ".join(sorted(p.stem for p in others))
        steps.append(Step("keep", place.unit, why=f"there are other instances: {names}"))
    name = f"streamcab@{instance}" if instance else "streamcab@*"
    if manager is not None and manager.there and read(place.unit) is not None:
        if not dry:
            # Of a template, `disable` forgets every instance; `stop` knows patterns.
            manager("stop", f"{name}.service")
            manager("disable", f"{name}.service" if instance else UNIT)
        yield f"{'would stop' if dry else 'stopped'} {name}"
    yield from _carried_out(steps, manager, dry)
    if not steps:
        yield "nothing to remove"


def _carried_out(steps: Sequence[Step], manager: Systemctl | None, dry: bool) -> Iterator[str]:
    for step in steps:
        if not dry:
            carry_out([step])
        yield step.words(dry=dry)
    changed = any(s.verb in ("put", "remove") and s.path.name == UNIT for s in steps)
    if changed and not dry and manager is not None and manager.there:
        manager("daemon-reload")


def status(place: Place, instance: str | None, manager: Systemctl | None) -> Iterator[str]:
    """Describe the installed service and its state, line by line. ServiceError when nothing is installed."""
    text = read(place.unit)
    if text is None:
        raise ServiceError(
            f"not installed: there is no {place.unit}; `streamcab service install` puts it there"
        )
    words = {"ours": "as installed", "edited": "edited", "foreign": "not put there by streamcab"}
    started = re.search(r'^ExecStart="?([^"\n]*?)"? (?:-m streamcab )?listen', text, re.MULTILINE)
    yield f"unit      {place.unit}: {words[standing(text)]}"
    if started:
        path = started[1].replace("%%", "%")
        yield f"program   {path}{'' if Path(path).exists() else ': missing; install the service again'}"
    names = {p.stem for p in _settings(place)}
    for name in sorted(names):
        path = place.settings_of(name)
        yield f"settings  {path}: {'as installed' if standing(read(path)) == 'ours' else 'edited'}"
    if manager is None or not manager.there:
        yield "systemd does not run here: nobody to ask how it is"
        return
    for name in [check_instance(instance)] if instance else sorted(names | _loaded(manager)):
        keys = "ActiveState,SubState,UnitFileState,StatusText,Result,NRestarts"
        shown = manager("show", f"streamcab@{name}", "-p", keys)
        yield f"{name:9s} {in_words(dict(line.split('=', 1) for line in shown.splitlines()))}"


def in_words(shown: Mapping[str, str]) -> str:
    """Describe the state of an instance, from `systemctl show`."""
    words = [f"{shown['ActiveState']} ({shown['SubState']})", shown.get("UnitFileState") or "disabled"]
    if shown.get("Result", "success") != "success":
        words.append(f"last result: {shown['Result']}")
    if shown.get("NRestarts", "0") != "0":
        words.append(f"restarts: {shown['NRestarts']}")
    return ", ".join(words) + (f": {shown['StatusText']}" if shown.get("StatusText") else "")


def _settings(place: Place) -> list[Path]:
    return [p for p in place.settings.glob("*.env") if INSTANCE.fullmatch(p.stem)]


def _loaded(manager: Systemctl) -> set[str]:
    listed = manager("list-units", "--all", "--plain", "--no-legend", "streamcab@*.service")
    units = [line.split()[0] for line in listed.splitlines() if line.strip()]
    return {u.removeprefix("streamcab@").removesuffix(".service") for u in units}
