"""Files that come with streamcab, such as recipes and systemd units. Knows their places, nothing of what is in them.

A checkout has the folders `configs` and `systemd` beside the package; a wheel has them inside it.
"""

from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped(name: str | Path) -> Path | None:
    """Find a file that came with streamcab.

    Args:
        name: Its path in a checkout, e.g. `configs/live.toml`.

    Returns:
        Where it is in this installation, or None when it did not come with it.
    """
    for home in (PACKAGE, PACKAGE.parent):
        if (home / name).is_file():
            return home / name
    return None


def recipes() -> Iterator[str]:
    """Yield what `shipped` finds below `configs`, each named as in a checkout."""
    for home in (PACKAGE, PACKAGE.parent):
        for path in sorted((home / "configs").rglob("*.toml")):
            yield str(path.relative_to(home))
