"""Standard error while the view has the screen: kept, bounded, and handed on afterwards."""

import os
import subprocess
import sys

from streamcab.view.stderr_capture import KEPT, captured_stderr


def test_what_is_written_comes_afterwards():
    # In a process of its own: pytest's sys.stderr does not write to descriptor 2.
    script = (
        "import os, sys\n"
        "from streamcab.view.stderr_capture import captured_stderr\n"
        "with captured_stderr():\n"
        "    os.write(2, b'driver ')\n"
        "    print('python', file=sys.stderr)\n"
        "    os.write(1, b'picture ')\n"
        "os.write(2, b'after')\n"
    )
    both = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert both.stdout == b"picture driver python\nafter"


def test_only_the_newest_lines_are_kept(capfd):
    with captured_stderr():
        for i in range(10_000):
            os.write(2, b"%d\n" % i)
    assert capfd.readouterr().err.split() == [str(i) for i in range(10_000 - KEPT, 10_000)]


def test_an_error_passes_and_leaves_standard_error_as_it_was(capfd):
    try:
        with captured_stderr():
            raise KeyError("x")
    except KeyError:
        os.write(2, b"again\n")
    assert capfd.readouterr().err == "again\n"
