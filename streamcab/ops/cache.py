"""The folder of OpenVINO's compiled graphs, so that the next start need not compile them again.

It only saves time: where it cannot be made, there is none, and that is no error. Its files are code that will be run,
so it must be this user's own. Knows nothing of nets.
"""

import os
import stat
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

KEPT = 64
"""Files of the folder; a model makes up to 14, of a megabyte at most."""


def cache_folder() -> Path | None:
    """Return the folder of this user's caches, which need not exist yet; None if there is no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # As the XDG specification wants it: a relative path counts for nothing.
        base = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "streamcab"


def openvino_cache() -> Path | None:
    """The folder for this version of OpenVINO, made if need be; None where it cannot be had, or is not ours alone."""
    base = cache_folder()
    if base is None:
        return None
    try:
        folder = base / f"openvino-{version('openvino')}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except (OSError, PackageNotFoundError):
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    if not ours or not os.access(folder, os.W_OK | os.X_OK):
        return None
    with suppress(OSError):  # another process may be at it
        files = sorted(folder.iterdir(), key=lambda file: file.lstat().st_mtime)
        for file in files[:-KEPT]:
            file.unlink()
    return folder
