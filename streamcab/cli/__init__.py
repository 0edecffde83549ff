"""The command line: options in, exit codes out. The only package that imports click.

Every command imports what it needs when it runs, so that `--help` and `watch` start without torch. The errors of
`errors.py` become one line here, and only here. Knows nothing of how a command does its work.

Exit codes: 0: done, or stopped by a signal. 1: the command failed. 2: an argument, a variable or a setting is invalid.
75: a source was lost for good; `status`: the daemon does not answer.
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
from streamcab.cli.sinks import sinks
from streamcab.cli.soak import soak
from streamcab.cli.train import evaluate, prepare, pretrain, train
from streamcab.cli.watch import watch
from streamcab.cli.web import web

# A step of the network takes a millisecond: a second BLAS thread costs more than it gains.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="streamcab")
def main() -> None:
    """Classify the accent of live speech, from one microphone or from a thousand calls.

    Settings can also come from the environment (STREAMCAB_WINDOW=20) or from a TOML file (--config
    listen.toml). `streamcab config show` prints each value and where it came from.
    """


for command in (
    *(listen, watch, web, demo, classify, verify, devices),
    *(prepare, pretrain, train, evaluate, reproduce),
    *(calls, sinks, status, doctor, metrics, bridge, log, config, keys, service, bench, soak),
):
    main.add_command(command)
