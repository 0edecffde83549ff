"""Orders and reports between a pool and its workers."""

import subprocess
import sys

AT_ONCE = """
import gc, sys, threading
import msgspec
from streamcab.config.tree import Listen
from streamcab.workers.process import packed, unpacked

sys.setswitchinterval(1e-6)
gc.set_threshold(20)
gc.callbacks.append(lambda *_: [None for _ in range(50)])
settings, barrier, found = packed(Listen()), threading.Barrier(6), []

def unpack():
    barrier.wait()
    found.append(unpacked(settings))

threads = [threading.Thread(target=unpack) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found == [Listen()] * 6
"""


def test_settings_may_be_unpacked_by_several_threads_at_once_from_the_first_on() -> None:
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
