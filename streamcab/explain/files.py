"""The three files of an explanation, in a folder: NAME.json, NAME.svg, NAME.TextGrid."""

from pathlib import Path

from streamcab.errors import ConfigError
from streamcab.explain.drawing import drawing
from streamcab.explain.explained import Explained
from streamcab.explain.record import record
from streamcab.explain.textgrid import textgrid

FORMS = {".json": record, ".svg": drawing, ".TextGrid": textgrid}


def write(folder: Path, name: str, one: Explained) -> list[Path]:
    """Write all of them. ConfigError where they cannot be written."""
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, form in FORMS.items():
            path = folder / f"{name}{suffix}"
            path.write_text(form(one), encoding="utf-8")
            paths.append(path)
    except OSError as error:
        raise ConfigError(f"--explain {folder}: cannot be written: {error.strerror}") from None
    return paths


def names(paths: list[str]) -> list[str]:
    """Return a name for each file: its own without ending; names that are taken, in any case, get a number."""
    found: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = Path(path).stem.strip("-") or "audio"
        name, n = stem, 1
        while name.casefold() in taken:
            n += 1
            name = f"{stem}-{n}"
        taken.add(name.casefold())
        found.append(name)
    return found
