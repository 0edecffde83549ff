"""The command line: options in, exit codes out. The only package that knows of click.

Every command imports what it needs when it runs, so that `--help` and `watch` start without torch. Failures of the tree
in `errors.py` become one line here; nothing else turns errors into text. Knows nothing of how anything is done.

Exit codes: 0 done, or stopped by a signal; 1 it failed; 2 a wrong word on the command line, in the environment or in
the configuration; 75 a source was lost for good (of `status`: nobody answers).
"""

import os

import click

from streamcab import __version__
from streamcab.cli.bench import bench
from streamcab.cli.calls import calls
from streamcab.cli.classify import classify, devices, verify
from streamcab.cli.command import Group
from streamcab.cli.config import config
from streamcab.cli.demo import demo
from streamcab.cli.health import bridge, doctor, log, metrics, status
from streamcab.cli.keys import keys
from streamcab.cli.listen import listen
from streamcab.cli.reproduce import reproduce
from streamcab.cli.service import service
from streamcab.cli.soak import soak
from streamcab.cli.train import evaluate, prepare, pretrain, train
from streamcab.cli.watch import watch

# The net is a millisecond of work: a second thread of BLAS costs more than it brings.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="streamcab")
def main() -> None:
    """Which accent is on this line, now? Live, for one microphone or for hundreds of calls.

    Settings can also stand in the environment (STREAMCAB_WINDOW=20) or in a TOML file (--config
    listen.toml). `streamcab config show` prints which value holds, and why.
    """


for command in (
    *(listen, watch, demo, classify, verify, devices),
    *(prepare, pretrain, train, evaluate, reproduce),
    *(calls, status, doctor, metrics, bridge, log, config, keys, service, bench, soak),
):
    main.add_command(command)
