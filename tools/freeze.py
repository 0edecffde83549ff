"""Writes constraints.txt: the exact versions, in this environment, of everything that streamcab and its extras need.

    python tools/freeze.py > constraints.txt

Local labels such as `+cpu` are left out: an index that lacks them could not serve the file.
"""

import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement


def closure(name: str, extras: set[str], found: dict[str, str]) -> None:
    """The installed packages that `name` with `extras` needs, by name."""
    for text in distribution(name).requires or []:
        need = Requirement(text)
        marked = need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras or {""})
        key = need.name.lower().replace("_", "-")
        # What was found without its extras is looked at again with them.
        if not marked or (key in found and not need.extras):
            continue
        try:
            found[key] = distribution(need.name).version.partition("+")[0]
        except PackageNotFoundError:
            sys.stderr.write(f"{need.name} is not installed; left out\n")
            continue
        closure(need.name, set(need.extras), found)


if __name__ == "__main__":
    found: dict[str, str] = {}
    extras = {"torch", "codecs", "health", "web", "store", "postgres", "redis", "nats", "otel", "dev"}
    closure("streamcab", extras, found)
    sys.stdout.write("# Exact versions that the tests ran with; made by tools/freeze.py.\n")
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(found.items()))
