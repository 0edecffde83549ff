"""A day in minutes: the real daemon under a clock that runs as fast as it can compute.

    programme.py   what is heard: a microphone that never ends and calls that come and go, the same each hour
    clock.py       time that passes as fast as it can be computed, and readings of the process
    rehearsal.py   the daemon and a subscriber
    report.py      what is measured, and the verdict
    pool.py        the same for a pool of workers, of which one is killed
    worker.py      one of them, in step with the pool

Everything but the clock and the capture is what serves real users: intake, engine, window, publisher, sockets of the
feed. See docs/reference/reliability.md.
"""
