"""The picture of one stream: the answer, its bars, the last 30 s, and how the stream is doing.

`render_one` is pure: a board, a name, a size and the time give a `Frame`. How many rows each part gets is
layout.py's. Knows no terminal and no keys.
"""

from collections.abc import Callable, Iterator

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from streamcab.config.tree import Answers
from streamcab.view.big_text import large
from streamcab.view.board import Board, Stream
from streamcab.view.frame import Frame, Row, bar, clean, column, duration, fit, percent, runs, thin_bar
from streamcab.view.layout import ORDER, grant
from streamcab.view.palette import ALERT, BOLD, PLAIN, QUIET, SIGN, STATE_STYLE, hue
from streamcab.view.strip import spoken_runs, strip_row
from streamcab.view.waiting import render_waiting
from streamcab.view.words import about, answer_words, doubt, duty_words, voice_words

FLOOR_DB = -70.0  # the left end of the level meter
_VALUE = 7  # cells of the column of values at the right
_GAP = 4  # cells between bars that stand side by side


def render_one(
    board: Board, stream: str, size: tuple[int, int], now: float, *, caption: str = "", hint: str = ""
) -> Frame:
    """Draw one stream in `size` (columns, rows); `caption` stands at the top, `hint` (the keys) at the bottom."""
    found = board.streams.get(stream)
    if found is None:
        return render_waiting(board, size, now, caption=caption, hint=hint)
    return _Picture(board, found, size, now, caption, hint).frame()


class _Picture:
    def __init__(
        self, board: Board, stream: Stream, size: tuple[int, int], now: float, caption: str, hint: str
    ) -> None:
        self.board, self.stream, self.now, self.caption, self.hint = board, stream, now, caption, hint
        self.width, self.height = max(size[0], 1), max(size[1], 1)
        self.p = stream.prediction
        self.labels = list(self.p.labels) if self.p else []
        self.margin = 1 if self.width < 100 else 3
        self.inner = max(self.width - 2 * self.margin, 1)
        widest = max((cell_len(clean(label)) for label in self.labels), default=0)
        self.gutter = min(max(widest, 9), max(self.inner // 4, 9)) + 2
        self.across = max(self.inner - self.gutter - _VALUE, 1)  # cells of bars, strip and meters
        self.style = PLAIN if stream.top is None else hue(board.number(stream.top))

    def frame(self) -> Frame:
        bars_across = 3 if len(self.labels) > 12 and self.inner >= 130 else 1
        if bars_across == 1 and len(self.labels) > 6 and self.inner >= 76:
            bars_across = 2
        bars = -(-len(self.labels) // bars_across)
        attention = self.p.attention if self.p else None
        rows = grant(self.height, bars, {"attention": 2 if attention else 0, "answer": self._large()})
        out: list[list[Segment]] = []
        draw: dict[str, Callable[[int], Iterator[Row]]] = {
            "header": self._header,
            "answer": self._answer,
            "bars": lambda n: self._bars(n, bars_across, rows.get("spread", 0)),
            "strip": self._strip,
            "runs": self._runs,
            "axis": self._axis,
            "attention": self._attention,
            "level": self._level,
            "numbers": self._numbers,
        }
        for section in ORDER:
            count = rows.get(section, 0)
            if section in draw and count:
                out += [row.done() for row in draw[section](count)]
            elif section != "spread":
                out += [self._row().done() for _ in range(count)]
        if "footer" in rows:
            out += [self._row().done() for _ in range(self.height - 1 - len(out))]
            out += [row.done() for row in self._footer()]
        out += [self._row().done() for _ in range(self.height - len(out))]
        frame = Frame(self.width, out[: self.height])
        return frame.dimmed(keep=1) if self.board.quiet(self.now) else frame

    def _row(self) -> Row:
        return Row(self.width).put(" " * self.margin)

    def _large(self) -> int:
        """Return the most rows of letters in which every label and its percentage fit side by side."""
        for rows in (5, 3):
            drawn = [large(label, rows) for label in self.labels]
            tail = large("100%", rows)
            if tail and all(d is not None and len(d[0]) + len(tail[0]) + 4 <= self.inner for d in drawn):
                return rows
        return 1

    def _header(self, _: int) -> Iterator[Row]:
        state, row = self.stream.shown, self._row()
        word, style = f"{SIGN[state]} {state}", STATE_STYLE[state]
        if self.stream.doubtful:
            word += f", {doubt(self.stream.prediction)}"
        if self.board.quiet(self.now):
            word, style = f"feed quiet for {self.board.age(self.now) or 0:.0f} s", ALERT
        room = max(self.inner - cell_len(word) - 2, 1)
        name = fit(self.stream.name, room)
        row.put(name, BOLD)
        more = about(self.stream, self.caption)
        rest = room - cell_len(name) - 3
        if more and rest > 7:
            row.put("   ").put(fit(more, rest), QUIET)
        yield row.to(self.width - self.margin - cell_len(word)).put(word, style)

    def _answer(self, count: int) -> Iterator[Row]:
        text, remark, value = answer_words(self.stream)
        style = {"answer": self.style, "alert": ALERT, "quiet": QUIET}[remark]
        big, tail = (
            (large(text, count), large(value.replace(" ", ""), count) if value else [])
            if count > 1
            else (None, None)
        )
        if big is None or tail is None or len(big[0]) > self.inner:
            for i in range(count):
                row = self._row()
                if i == count // 2:
                    row.left(text, max(self.inner - 6, 1), style + BOLD).right(value, 6, BOLD)
                yield row
            return
        for i, line in enumerate(big):
            row = self._row().put(line, style)
            if tail:
                row.to(self.width - self.margin - len(tail[i])).put(tail[i], style)
            yield row

    def _bars(self, count: int, across: int, spread: int) -> Iterator[Row]:
        shown = self._shown_labels(count * across)
        wide = (self.inner - _GAP * (across - 1)) // across
        rows = -(-len(shown) // across)
        silent = self.stream.top is None or self.p is None
        for i in range(rows):
            row = self._row()
            for j in range(across):
                if i + j * rows >= len(shown):
                    continue
                label = shown[i + j * rows]
                share = 0.0 if silent or self.p is None else self.p.probs.get(label, 0.0)
                latest = self.p.now.get(label) if self.p and not silent else None
                row.to(self.margin + j * (wide + _GAP))
                leads = label == self.stream.top
                row.left(label, self.gutter - 2, BOLD if leads else PLAIN if not silent else QUIET).put("  ")
                length = self.across if across == 1 else max(wide - self.gutter - _VALUE, 1)
                row.extend(bar(share, length, hue(self.board.number(label)), latest))
                row.right("" if silent else percent(share), _VALUE, BOLD if leads else PLAIN)
            yield row
            if spread and i < rows - 1:
                yield self._row()
        for _ in range(count - rows):
            yield self._row()

    def _shown_labels(self, most: int) -> list[str]:
        """Return the likeliest labels, in the model's order: bars never change places."""
        if len(self.labels) <= most or self.p is None:
            return self.labels
        probs = self.p.probs
        likely = sorted(self.labels, key=lambda label: -probs.get(label, 0.0))[:most]
        return [label for label in self.labels if label in likely]

    def _strip(self, count: int) -> Iterator[Row]:
        cells = self.stream.history.cells(self.across)
        for i in range(count):
            row = self._row().left("last 30 s" if i == count - 1 else "", self.gutter, QUIET)
            yield row.extend(strip_row(cells, i, count))

    def _runs(self, _: int) -> Iterator[Row]:
        row = self._row().to(self.margin + self.gutter)
        names = self.board.labels()
        at = row.used
        for number, length in spoken_runs(self.stream.history.cells(self.across)):
            if number is not None and number < len(names):
                name = clean(names[number])
                room = length - 1
                if cell_len(name) <= room or room >= 6:
                    row.to(at).put(fit(name, room), hue(number))
            at += length
        yield row

    def _axis(self, _: int) -> Iterator[Row]:
        row = self._row().to(self.margin + self.gutter).put("-30 s", QUIET)
        steps = (20, 10) if self.across >= 40 else ()
        for ago in steps:
            row.to(self.margin + self.gutter + self.across - self.across * ago // 30 - 2).put(
                f"-{ago}", QUIET
            )
        yield row.to(self.margin + self.gutter + self.across - 3).put("now", QUIET)

    def _attention(self, count: int) -> Iterator[Row]:
        weights = (self.p.attention if self.p else None) or [0.0]
        groups = min(len(weights), self.across)
        each = self.across // groups
        if len(weights) > groups:
            step = len(weights) / groups
            weights = [
                max(weights[int(i * step) : max(int((i + 1) * step), int(i * step) + 1)])
                for i in range(groups)
            ]
        most = max(weights) or 1.0
        number = None if self.stream.top is None else self.board.number(self.stream.top)
        for i in range(count):
            row = self._row().left("attention" if i == count - 1 else "", self.gutter, QUIET)
            yield row.extend(
                runs(
                    (
                        column(w / most, i, count) * each,
                        QUIET if number is None else hue(number, int(7 * w / most)),
                    )
                    for w in weights
                )
            )

    def _level(self, _: int) -> Iterator[Row]:
        db = self.p.level_db if self.p else None
        row = self._row().left("level", self.gutter, QUIET)
        share = 0.0 if db is None else (db - FLOOR_DB) / -FLOOR_DB
        row.extend(thin_bar(share, self.across, ALERT if db is not None and db > -1 else QUIET))
        yield row.right("-" if db is None else f"{db:.0f} dB", _VALUE)

    def _numbers(self, count: int) -> Iterator[Row]:
        s, p = self.stream, self.p
        voiced = f"{p.voiced_s if p else 0:.1f} s"
        items: list[tuple[str, str, Style]] = [
            ("voiced", f"{voiced} of {self._window_s():.0f} s" if count > 1 else voiced, PLAIN),
            ("lag", duration(s.lag_ms), ALERT if s.lag_ms > 1000 else PLAIN),
            ("lost", duration(s.lost_ms), ALERT if s.lost_ms > 0 else PLAIN),
            ("overflows", f"{s.overflows}", ALERT if s.overflows > 0 else PLAIN),
            ("heard", f"{p.heard_s if p else 0:.0f} s{duty_words(p)}{voice_words(p)}", PLAIN),
        ]
        if count > 1:
            wide = first = min(self.inner // len(items), 24)
            if wide < 17:
                first = min(17, self.inner)
                wide = (self.inner - first) // (len(items) - 1)
            if wide < 12:
                items, wide = items[:4], max((self.inner - first) // 3, 1)
            titles, values = self._row().left("voiced", first, QUIET), self._row().left(items[0][1], first)
            for title, value, style in items[1:]:
                titles.left(title, wide, QUIET)
                values.left(value, wide, style)
            yield titles
            yield values
            return
        row = self._row()
        if s.overflows and self.inner < 52:
            items[2] = ("lost", f"{duration(s.lost_ms)}, {s.overflows} overflows", ALERT)
            items = [items[2], *items[:2]]
        for title, value, style in items:
            if row.used + len(title) + len(value) + 1 <= self.width - self.margin:
                row.put(title + " ", QUIET).put(value, style).put("   " if self.inner > 44 else "  ")
        yield row

    def _footer(self) -> Iterator[Row]:
        row, model = self._row(), self.board.model(self.stream)
        digest = clean(self.p.model if self.p else "")[:8]
        parts = [
            "streamcab" if self.inner >= 90 else "",
            model.name if model else "",
            digest,
            f"window {self._window_s():.0f} s" if self.p else "",
        ]
        if model and self.inner >= 70:
            parts.append(f"{model.normaliser} normaliser, gate {'on' if model.gate else 'off'}")
        hint = self.hint if self.inner >= 30 else ""
        room = self.inner - cell_len(hint) - 2
        row.put(fit(" · ".join(clean(part) for part in parts if part), max(room, 0)), QUIET)
        yield row.to(self.width - self.margin - cell_len(hint)).put(hint, QUIET)

    def _window_s(self) -> float:
        model = self.board.model(self.stream)
        return model.window_s if model else max(Answers().window, self.p.window_s if self.p else 0.0)
