"""The feed on a terminal: pure pictures of the newest messages, and the loop around them.

Needs rich and the messages; never torch, numpy or scipy, so it starts at once and runs on any machine.
"""

from streamcab.view.board import Board
from streamcab.view.fleet import render_fleet
from streamcab.view.live import drawable, named, watch
from streamcab.view.one import render_one
from streamcab.view.plain import lines
from streamcab.view.stderr_capture import captured_stderr
from streamcab.view.summary import summary
from streamcab.view.view_state import ViewState

__all__ = [
    "Board",
    "ViewState",
    "captured_stderr",
    "drawable",
    "lines",
    "named",
    "render_fleet",
    "render_one",
    "summary",
    "watch",
]
