"""The history: what the page asks of a store of calls. Reads only; every question names a bounded time or a page.

Knows nothing of databases (`store/read.py`) and of who may ask (`guard.py`).
"""

import logging
import threading
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from functools import partial
from importlib.util import find_spec
from tempfile import SpooledTemporaryFile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from streamcab.errors import StoreError
from streamcab.store import export
from streamcab.store.read import After, Filter, Reader, StoredCall
from streamcab.web import told
from streamcab.web.course import FULL, HEARS
from streamcab.web.line import shown, told_by_platform
from streamcab.web.wall import encode

log = logging.getLogger("streamcab.web")

PAGE = 100
MOST_DAYS = 400
IN_MEMORY = 32 << 20
"""Bytes of a file that is being made, before it goes to the disk."""
FORMATS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


class _Wrong(Exception):
    """A question that cannot be answered, with the reason."""


class Past:
    """The stored calls of one database, which is opened when somebody asks: it may come later than the page."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._opened: Reader | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "Past":
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def formats(self) -> list[str]:
        """Return the formats of files that can be exported here."""
        return [kind for kind in FORMATS if kind != "parquet" or find_spec("pyarrow") is not None]

    @property
    def _reader(self) -> Reader:
        with self._lock:
            if self._opened is None:
                self._opened = Reader(self._where)
            return self._opened

    def routes(self) -> list[Route]:
        """Return the routes of the history."""
        return [
            Route("/api/history", _careful(self._list)),
            *(Route(f"/api/history.{kind}", _careful(partial(self._file, kind))) for kind in self.formats),
            Route("/api/history/call/{id:int}", _careful(self._call)),
        ]

    def _list(self, request: Request) -> Response:
        which, zone = _filter(request)
        found = self._reader.calls(which, PAGE + 1, _after(request))
        more = len(found) > PAGE
        answer: dict[str, Any] = {"calls": [_row(call) for call in found[:PAGE]]}
        if more:
            last = After.call(found[PAGE - 1])
            answer["after"] = f"{last.began!r},{last.id}"
        if "after" not in request.query_params:
            by = request.query_params.get("by") or "day"
            if by not in ("day", "hour"):
                raise _Wrong(f"{shown(by)!r} is neither day nor hour")
            hourly = by == "hour"
            counts = (self._reader.hours if hourly else self._reader.days)(which, zone)
            # What can be chosen does not depend on what is chosen.
            times = Filter(since=which.since, until=which.until)
            answer |= {
                "count": self._reader.count(which),
                "counts": [[c.at, _label(c.top), c.calls] for c in counts],
                "places": sorted({*_places(which, zone, hourly), *(c.at for c in counts)}),
                "labels": self._labels(found),
                "accents": [[_label(total.value), total.calls] for total in self._reader.accents(times)],
                "sources": [[shown(total.value or ""), total.calls] for total in self._reader.sources(times)],
                "files": self.formats,
                "zone": str(zone),
                "from": _date(which.since, zone),
                "to": _date((which.until or 1.0) - 1.0, zone),
            }
        return Response(encode(answer), media_type="application/json")

    def _labels(self, found: list[StoredCall]) -> list[str]:
        """Return the labels in the order of their colours: as the models have them, that of the newest call first."""
        models = self._reader.models()
        newest = [models[found[0].model]] if found and found[0].model in models else []
        return list(dict.fromkeys(shown(label) for m in (*newest, *models.values()) for label in m.labels))

    def _call(self, request: Request) -> Response:
        call = self._reader.call(request.path_params["id"])
        if call is None:
            return Response(b'{"error":"This call is not in the store."}', 404, media_type="application/json")
        model = self._reader.models().get(call.model)
        labels = [shown(label) for label in (model.labels if model else call.probs)]
        pieces, top = self._reader.pieces(call), _label(call.top)
        flaws = list(dict.fromkeys(flaw for piece in pieces for flaw in piece.flaws))[:8]
        began = call.began
        starts = [max(0.0, piece.n * 10.0 - began) for piece in pieces]
        course: dict[str, Any] = {
            "t": starts,
            "step": [
                min(piece.n * 10.0 + 10.0, call.seen) - began - start
                for piece, start in zip(pieces, starts, strict=True)
            ],
            "probs": [[round(p * FULL) for p in piece.probs] for piece in pieces],
            "hears": [HEARS.index(piece.hears) if piece.hears in HEARS else 2 for piece in pieces],
            "db": [piece.level_db for piece in pieces],
            "flaws": [sum(1 << flaws.index(f) for f in piece.flaws if f in flaws) for piece in pieces],
            "voice": [piece.voice for piece in pieces],
        }
        answer = _row(call) | {
            "state": "ended" if call.state == "ended" else call.state,
            "length": call.audio_s,
            "labels": labels,
            "numbers": list(range(len(labels))),
            "probs": {shown(label): p for label, p in call.probs.items()},
            "stored": True,
            "course": course if pieces else None,
            "flaw_names": [shown(flaw) for flaw in flaws],
            "model": {"name": shown(model.name if model else ""), "hash": shown(call.model)},
            "told": told.moved(
                course["t"], course["step"], course["probs"], labels.index(top) if top in labels else None
            ),
        }
        return Response(encode(answer), media_type="application/json")

    def _file(self, kind: str, request: Request) -> Response:
        """Export all matching calls to a file, completely before the response, so that an error is an answer."""
        which, zone = _filter(request)
        made: Any = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - it is closed when it was sent
        export.FORMATS[kind](export.calls(self._reader.every(which)), made, zone)
        made.seek(0)
        return StreamingResponse(
            iter(partial(made.read, 1 << 16), b""),
            media_type=FORMATS[kind],
            headers={"Content-Disposition": f'attachment; filename="streamcab-calls.{kind}"'},
            background=BackgroundTask(made.close),
        )


def _careful(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
    def careful(request: Request) -> Response:
        try:
            return answer(request)
        except _Wrong as error:
            return Response(encode({"error": str(error)}), 400, media_type="application/json")
        except StoreError as error:
            log.warning("the page cannot read the store: %s", error)
            return Response(
                encode({"error": "The store cannot be read now."}), 503, media_type="application/json"
            )

    return careful


def _filter(request: Request) -> tuple[Filter, ZoneInfo]:
    """Parse which calls are requested: days `from` and `to`, both included, in the time zone `tz`."""
    asked = request.query_params
    name = asked.get("tz") or "UTC"
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _Wrong(f"{shown(name)!r} is not a time zone") from None
    today = datetime.now(zone).date()
    last = _day(asked.get("to"), today)
    first = _day(asked.get("from"), last - timedelta(days=6))
    if last < first:
        raise _Wrong(f"The first day, {first}, is after the last one, {last}.")
    if last - first >= timedelta(days=MOST_DAYS):
        raise _Wrong(f"These are more than {MOST_DAYS} days: ask for fewer.")
    return (
        Filter(
            since=datetime.combine(first, time(), zone).timestamp(),
            until=datetime.combine(last + timedelta(days=1), time(), zone).timestamp(),
            top=asked.get("top"),
            name=(asked.get("name") or "")[:200] or None,
            source=(asked.get("source") or "")[:200] or None,
        ),
        zone,
    )


def _day(text: str | None, unset: date) -> date:
    if not text:
        return unset
    try:
        found = date.fromisoformat(text)
        if not 1971 <= found.year <= 9998:
            raise ValueError
    except ValueError:
        raise _Wrong(f"{shown(text)!r} is not a day; write YYYY-MM-DD") from None
    return found


def _date(at: float | None, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at or 0.0, zone).date().isoformat()


def _places(which: Filter, zone: ZoneInfo, hourly: bool) -> list[float]:
    """Return the first second of each day or hour: also of those in which nothing was heard."""
    since, until = which.since or 0.0, which.until or 0.0
    if hourly:
        return [since + 3600.0 * n for n in range(round((until - since) / 3600))]
    first = datetime.fromtimestamp(since, zone).date()
    days = datetime.fromtimestamp(until - 1, zone).date() - first
    return [datetime.combine(first + timedelta(n), time(), zone).timestamp() for n in range(days.days + 1)]


def _after(request: Request) -> After | None:
    text = request.query_params.get("after")
    if not text:
        return None
    try:
        began, id = text.split(",")
        return After(float(began), int(id))
    except ValueError:
        raise _Wrong(f"{shown(text)!r} is not a place in the list") from None


def _label(text: str | None) -> str | None:
    return None if text is None else shown(text)


def _row(call: StoredCall) -> dict[str, Any]:
    """Return a call as the page has it: no text that could steer a browser or turn its lines."""
    row = msgspec.structs.asdict(call)
    row["flaws"] = [shown(flaw) for flaw in call.flaws]
    for key in ("name", "source", "state", "top", "detail", "model"):
        if isinstance(row[key], str):
            row[key] = shown(row[key])
    row["platform"] = told_by_platform(row.pop("labels"))
    return row
