"""A PostgreSQL of a test's own: an unprivileged user's cluster in a temporary folder, on a free port of loopback."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ports import free_port


class Cluster:
    """`url` is the database; `crash` and `start` are what happens to it."""

    def __init__(self, home: Path, programs: Path, port: int) -> None:
        self._home, self._programs, self.port = home, programs, port
        self.url = f"postgresql://streamcab@127.0.0.1:{port}/postgres"

    def make(self) -> None:
        self._run(
            *("initdb", "-D", self._home / "data", "-U", "streamcab", "--auth=trust"),
            *("--no-sync", "-E", "UTF8", "--locale=C"),
        )

    def start(self) -> None:
        options = f"-p {self.port} -k {self._home} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("-w", "-l", self._home / "log", "-o", options, "start")

    def crash(self) -> None:
        """As kill -9 of all its processes, but that none is left behind."""
        self._control("-m", "immediate", "stop")

    def _control(self, *words: str | Path) -> None:
        self._run("pg_ctl", "-D", self._home / "data", *words)

    def _run(self, program: str, *words: str | Path) -> None:
        # PostgreSQL refuses to run as root.
        user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        command = [*user, str(self._programs / program), *map(str, words)]
        # Its server inherits these: a pipe would stay open for as long as it runs.
        with (self._home / "said").open("wb") as said:
            done = subprocess.run(
                command, env={"HOME": str(self._home), "PATH": os.environ["PATH"]}, stdout=said, stderr=said
            )
        assert done.returncode == 0, (self._home / "said").read_text(encoding="utf-8", errors="replace")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster, started, and stopped with the context; skips the test where there is no PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    path = found[-1].parent if found else None
    if path is None and (here := shutil.which("pg_ctl")):
        path = Path(here).parent
    if path is None:
        pytest.skip("no PostgreSQL: apt install postgresql")
    # Not tmp_path: every folder above it must let another user through.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        home = Path(folder)
        home.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(home, "nobody", "nogroup")
        server = Cluster(home, path, free_port())
        server.make()
        server.start()
        try:
            yield server
        finally:
            with suppress(AssertionError):  # a test has stopped it
                server.crash()
