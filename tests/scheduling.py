"""Which tests share a process where several processes run them (`make test`, by pytest-xdist).

A file stays in one process, so that its fixtures are made once. The files of MACHINE share one: they run one by one.
"""

from pathlib import Path, PurePath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

MACHINE = (
    "test_faults",
    "test_source_microphone",
    "test_source_states",
    "test_bench_calls",
    "test_bench_ramp",
    "test_soak",
    "test_stop",
    "test_store_and_page",
    "test_overload",
    "test_rtp_senders",
    "test_rtp_sipp",
    "test_systemd",
)
"""Files whose tests load the machine, or depend on real time."""

LONG = (
    "test_cli",
    "test_train_folds",
    "test_live",
    "test_daemon_reload",
    "test_ops_notify",
    "test_train_distributed",
)
"""Other files that take long: they begin early, so that no process works alone at the end."""

_missing = [name for name in MACHINE + LONG if not Path(__file__).with_name(f"{name}.py").exists()]
assert not _missing, f"{__file__} names files that are gone: {_missing}"


def rank(path: PurePath) -> int:
    """Return when a file's turn comes: 0 first."""
    return 0 if path.stem in MACHINE else 1 if path.stem in LONG else 2


class ByFile(LoadScopeScheduling):
    """Gives each process a file at a time, in the order of collection."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "machine" if PurePath(file).stem in MACHINE else file
