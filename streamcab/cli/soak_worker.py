"""The program of a worker of `soak --workers`: that of `listen --workers`, with calls and a clock of a rehearsal."""

import sys

from streamcab.cli.worker import main
from streamcab.soak.worker import Rehearsal

if __name__ == "__main__":
    sys.exit(main(Rehearsal))
