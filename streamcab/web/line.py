"""One call of the wall, and text made fit to be shown. Knows nothing of other calls or of JSON."""

from collections.abc import Mapping
from typing import Any

from streamcab.message import ModelInfo, Prediction, Status
from streamcab.text import printable
from streamcab.web.course import Course
from streamcab.web.told import Said

LONGEST, MOST_PARAMETERS = 300, 30
"""Characters of a text, and what is shown of what a platform says of a call."""
STATES = ("warming", "live", "silent", "stalled", "reconnecting", "lost", "ended")


def shown(text: str) -> str:
    """Return text from anywhere, as a browser may have it: no control characters, bounded."""
    return printable(text[:LONGEST])


class Line:
    """One call, from its first message on."""

    __slots__ = (
        "answer", "began", "course", "fields", "given_up", "heard", "id", "intro", "key",
        "labels", "length", "model", "name", "platform", "row", "run", "said", "state", "status",
    )  # fmt: skip

    def __init__(self, id: int, name: str, run: str, now: float, began: float) -> None:
        self.id, self.name, self.run, self.began, self.heard = id, shown(name), run, began, now
        self.key = name
        self.state, self.length = "warming", None  # type: str, float | None
        self.given_up = False  # ended here, since nothing came for long
        self.model: ModelInfo | None = None
        self.answer: Prediction | None = None
        self.status: Status | None = None
        self.platform: dict[str, str] = {}
        self.labels: list[int] = []  # of its model, as numbers of the wall
        self.course: Course | None = None
        self.said: Said | None = None
        self.row: list[Any] = []
        self.intro: list[Any] = []

    def hear_of(self, status: Status) -> None:
        """Take a status."""
        if self.status is None or self.status.call != status.call:
            self.platform = told_by_platform(status.call)
        self.status = status

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self.state == "ended"

    @property
    def shown_state(self) -> str:
        """Its state; a source that delivers nothing takes precedence over the last answer."""
        source = self.status.source_state if self.status and not self.over else None
        return source if source in ("stalled", "lost", "reconnecting") else self.state


def flaws(line: Line) -> list[str]:
    """Return the flaws of the samples and of the window's speech, each once."""
    found = [*(line.status.flaws if line.status else []), *(line.answer.flaws if line.answer else [])]
    return [shown(flaw) for flaw in dict.fromkeys(found)][:8]


def told_by_platform(call: Mapping[str, Any]) -> dict[str, str]:
    """Return a platform's facts about a call: its id, the parties, the customer's parameters."""
    return {shown(str(key)): shown(str(text)) for key, text in list(call.items())[:MOST_PARAMETERS]}
