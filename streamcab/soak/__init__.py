"""A day in minutes: the real daemon under a clock that runs as fast as it can compute.

    programme.py   what is heard: a microphone that never ends and calls that come and go, the same each hour
    rehearsal.py   the clock, the daemon, a subscriber; what is measured, and the verdict

Everything but the clock and the capture is what serves real users: intake, engine, window, publisher, sockets of the
feed. See docs/reference/reliability.md.
"""
