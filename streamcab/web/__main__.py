"""`python -m streamcab.web`: the process that `listen --web` starts (child.py)."""

import signal
import sys

from streamcab.errors import StreamcabError
from streamcab.web.child import main

if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the daemon's business
    try:
        main(sys.stdin.buffer)
    except StreamcabError as error:
        sys.exit(f"the page: {error}")
