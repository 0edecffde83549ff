"""Names of streams that are unique across processes: each name in use is a symbolic link in a folder of theirs.

Making a link is atomic, and links outlive the process that made them. Knows nothing of streams.
"""

import os
from contextlib import suppress
from pathlib import Path


class SharedNames:
    """Implements `Names` for process number `owner`; `folder` belongs to all of them and nobody else."""

    def __init__(self, folder: Path, owner: int, suffix: str = "") -> None:
        self.suffix = suffix
        self._folder, self._owner = folder, str(owner)

    def take(self, name: str) -> bool:
        """See Names."""
        try:
            os.symlink(self._owner, self._folder / name)
        except FileExistsError:
            return False
        except OSError:  # a full disk: rather a name twice than a call unheard
            return True
        return True

    def free(self, name: str) -> None:
        """See Names."""
        with suppress(OSError):
            os.unlink(self._folder / name)

    def free_all(self) -> None:
        """Give back every name of this owner, whose process has ended."""
        with os.scandir(self._folder) as names:
            own = [one.name for one in names if os.readlink(one.path) == self._owner]
        for name in own:
            self.free(name)
