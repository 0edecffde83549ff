"""Calls for the store and the sinks: made of messages as a daemon sends them, at times of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from feeding import status
from health_feed import model, prediction

from streamcab.calls import Tally
from streamcab.message import AnyMessage

NOON = 1_800_000_000.0
"""Some Unix time, a multiple of ten."""
EVERY_S = 0.5


class Line:
    """A caller who speaks half of the time: `talk` goes on, `hang_up` ends it."""

    def __init__(
        self, say: Callable[[AnyMessage], None], name: str, began: float = NOON, **fields: Any
    ) -> None:
        self._say, self.name, self.began, self.s = say, name, began, 0.0
        self.fields: dict[str, Any] = {"top": "uk", **fields}
        say(model(name, time=began))

    def talk(self, seconds: float, **fields: Any) -> None:
        """Answers and statuses of these seconds."""
        self.fields |= fields
        flaws = self.fields.pop("flaws", [])
        for _ in range(round(seconds / EVERY_S)):
            self.s += EVERY_S
            answer = {"sample": round(8000 * self.s), "heard_s": self.s / 2, "hears": "speech", **self.fields}
            self._say(prediction(self.name, time=self.began + self.s, **answer))
            if self.s.is_integer():
                self._say(self._status(flaws=flaws))

    def hang_up(self, **fields: Any) -> None:
        """Its last words."""
        answer = {"sample": round(8000 * self.s), "heard_s": self.s / 2, **self.fields}
        self._say(prediction(self.name, time=self.began + self.s, **{**answer, "state": "ended"}))
        self._say(self._status(state="ended", **fields))

    def _status(self, **fields: Any) -> AnyMessage:
        now = {"time": self.began + self.s, "captured_s": self.s, "source": f"file: {self.name}.wav"}
        return status(self.name, **{**now, **fields})


def one_call(tally: Tally, name: str, began: float = NOON, seconds: float = 25.0, **fields: Any) -> None:
    """A call from its beginning to its end."""
    line = Line(tally, name, began, **fields)
    line.talk(seconds)
    line.hang_up()


def files(folder: Path) -> Iterator[bytes]:
    """What stands in all files of a folder."""
    for path in sorted(folder.iterdir()):
        yield path.read_bytes()
