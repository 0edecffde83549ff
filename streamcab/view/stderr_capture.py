"""Keeps standard error off the picture: drivers and warnings write there while the view has the screen.

The newest lines are kept, and passed on when the screen is free again. Knows nothing of
the view.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

KEPT = 50
"""Lines."""


@contextmanager
def captured_stderr() -> Iterator[None]:
    """Collect file descriptor 2, the library's below Python too, and write it out at the end."""
    sys.stderr.flush()
    before = os.dup(2)
    inlet, outlet = os.pipe()
    os.dup2(outlet, 2)
    os.close(outlet)
    kept: deque[bytes] = deque(maxlen=KEPT)

    def collect() -> None:
        with open(inlet, "rb") as lines:
            kept.extend(lines)

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        # The last writer goes with this, so the reader ends.
        os.dup2(before, 2)
        os.close(before)
        reader.join(1.0)
        os.write(2, b"".join(kept))
