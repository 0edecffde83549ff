"""Two processes that train together, started here: what torchrun does, without the seconds of its own start."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from patience import PATIENCE_S
from ports import free_port


def run_two(script: Path, *words: str | Path) -> None:
    """Run `script` as ranks 0 and 1, to the end of both. AssertionError if one fails."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    place |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    with ExitStack() as stack:
        both = []
        for rank in "01":
            env = os.environ | place | {"RANK": rank, "LOCAL_RANK": rank}
            both.append(stack.enter_context(subprocess.Popen([sys.executable, script, *words], env=env)))
            stack.callback(both[-1].kill)
        assert [one.wait(PATIENCE_S) for one in both] == [0, 0]
