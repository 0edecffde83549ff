"""Reads the store: calls by filter, one call with its pieces, and counts by day or hour, accent and source.

    with Reader("calls.db") as store:
        newest = store.calls(Filter(since=time.time() - 86_400), limit=50)
        store.pieces(newest[0])

Every method is one short transaction, fetched before it returns; a `Reader` may be used from several threads. Times
are Unix seconds. Knows nothing of who asks: the command line, the page, a script.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, and_, case, cast, extract, func, inspect, null, or_, select
from sqlalchemy import types as kinds

from streamcab.calls import CallFacts, Piece
from streamcab.errors import StoreError
from streamcab.store.database import connect, explained, hidden, url_of
from streamcab.store.schema import calls, models, pieces
from streamcab.store.upkeep import pieces_of

QUARTER_S = 900
"""Time zones differ by multiples of this."""
PAGE = 1_000


class StoredCall(CallFacts, frozen=True):
    """A row of `calls`; see schema.py. `id` is below 2**53."""

    id: int
    run: int


class StoredPiece(Piece, frozen=True, kw_only=True):
    """A piece of the call with the id `call`."""

    call: int


class StoredModel(msgspec.Struct, frozen=True):
    """A model that has answered."""

    model: str
    name: str
    labels: list[str]
    licence: str
    corpus: str


class Count(msgspec.Struct, frozen=True):
    """Calls that began within a day or an hour and got the same answer; `at` is its first second."""

    at: float
    top: str | None
    calls: int
    speech_s: float


class Total(msgspec.Struct, frozen=True):
    """The number of calls that share a value, such as an accent or a kind of source."""

    value: str | None
    calls: int


@dataclass(frozen=True)
class Filter:
    """A filter of calls; fields that are None do not matter.

    Attributes:
        since: They began at or after this Unix time.
        until: They began before this Unix time.
        top: The answer; "" for calls without one.
        name: Name of the stream, with the wildcards * and ?, or the call id of a platform.
        source: A part of its description, in any case.
        state: open, ended or interrupted.
        run: Of the daemon.
        party: Caller or callee, as the platform names it; a pseudonym by default. Any of them, where there are several.
        least_speech_s: Seconds of speech, at least.
    """

    since: float | None = None
    until: float | None = None
    top: str | None = None
    name: str | None = None
    source: str | None = None
    state: str | None = None
    run: int | None = None
    party: str | tuple[str, ...] | None = None
    least_speech_s: float | None = None


@dataclass(frozen=True)
class After:
    """The place at which a page of calls continues: after the call that began then, with this id."""

    began: float
    id: int

    @classmethod
    def call(cls, call: StoredCall) -> "After":
        """Return the position after this call."""
        return cls(call.began, call.id)


class Reader:
    """Reads a store by path or URL; never writes. StoreError: there is none, or it cannot be read."""

    def __init__(self, where: str) -> None:
        self._engine = connect(url_of(where))
        # A database of another streamcab, or none at all, is found now.
        try:
            with explained(self._engine):
                found = inspect(self._engine)
                if not found.has_table("calls"):
                    place = hidden(self._engine.url)
                    raise StoreError(
                        f"{place} has no table of calls: it is not a store that listen --store made"
                    )
                have = {t: {column["name"] for column in found.get_columns(t)} for t in ("calls", "pieces")}
            self._rows(select(calls.c.id).limit(1))
        except StoreError:
            self.close()
            raise
        # A store that only an older streamcab has opened lacks the newest columns.
        self._pieces = select(*(column for column in pieces.c if column.name in have["pieces"]))
        named = ((c, c.name in have["calls"]) for c in calls.c)
        self._calls = select(*(column if there else null().label(column.name) for column, there in named))

    def calls(
        self, which: Filter = Filter(), limit: int = PAGE, after: After | None = None, oldest: bool = False
    ) -> list[StoredCall]:
        """Return calls, the newest first unless `oldest`; `limit` of them, those `after` the last of a page."""
        order = (calls.c.began, calls.c.id) if oldest else (calls.c.began.desc(), calls.c.id.desc())
        query = _filtered(self._calls, which).order_by(*order).limit(limit)
        if after is not None:
            query = query.where(_beyond(after, oldest))
        return [_converted(StoredCall, row) for row in self._rows(query)]

    def every(self, which: Filter = Filter()) -> Iterator[StoredCall]:
        """Yield all calls, the oldest first, page by page: no transaction lasts while they are used."""
        after = None
        while found := self.calls(which, PAGE, after, oldest=True):
            yield from found
            after = After.call(found[-1])

    def call(self, id: int) -> StoredCall | None:
        """Return one call."""
        found = self._rows(self._calls.where(calls.c.id == id))
        return _converted(StoredCall, found[0]) if found else None

    def pieces(self, call: StoredCall) -> list[StoredPiece]:
        """Return the pieces of a call in order; none once they are too old (`--store-max-detail-days`)."""
        found: list[Any] = []
        for condition in pieces_of(call.id, call.began, call.seen):
            found += self._rows(self._pieces.where(condition).order_by(pieces.c.n))
        return [_converted(StoredPiece, row) for row in found]

    def models(self) -> dict[str, StoredModel]:
        """Return the models by hash: `labels` is the order of a piece's `probs`."""
        return {row.model: _converted(StoredModel, row) for row in self._rows(select(models))}

    def count(self, which: Filter = Filter()) -> int:
        """Return how many calls there are."""
        return int(self._rows(_filtered(select(func.count()).select_from(calls), which))[0][0])

    def days(self, which: Filter = Filter(), zone: tzinfo | None = None) -> list[Count]:
        """Return counts by day of a time zone (None: this machine's) and answer, the oldest first."""
        return self._counts(which, zone, lambda t: t.replace(hour=0, minute=0, second=0, microsecond=0))

    def hours(self, which: Filter = Filter(), zone: tzinfo | None = None) -> list[Count]:
        """Return counts by hour and answer."""
        return self._counts(which, zone, lambda t: t.replace(minute=0, second=0, microsecond=0))

    def accents(self, which: Filter = Filter()) -> list[Total]:
        """Return the answers that there are, the most frequent first."""
        return self._totals(calls.c.top, which)

    def sources(self, which: Filter = Filter()) -> list[Total]:
        """Return the kinds of source: their descriptions up to the first colon, such as `microphone`."""
        colon = (func.strpos if self._engine.dialect.name == "postgresql" else func.instr)(
            calls.c.source, ":"
        )
        kind = case((colon > 0, func.substr(calls.c.source, 1, colon - 1)), else_=calls.c.source)
        return self._totals(kind, which)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with explained(self._engine), self._engine.begin() as connection:
            return connection.execute(query).all()

    def _totals(self, value: ColumnElement[Any], which: Filter) -> list[Total]:
        n = func.count().label("calls")
        query = _filtered(select(value.label("value"), n).select_from(calls), which)
        found = self._rows(query.group_by(value).order_by(n.desc(), value))
        return [Total(row.value, row.calls) for row in found]

    def _counts(self, which: Filter, zone: tzinfo | None, first: Any) -> list[Count]:
        # SQLite knows no zones: by quarters of an hour there, by days and hours of the zone here.
        if self._engine.dialect.name == "postgresql":
            quarter = cast(func.floor(extract("epoch", calls.c.began) / QUARTER_S), kinds.Integer)
        else:
            quarter = cast(calls.c.began / QUARTER_S, kinds.Integer)
        query = _filtered(
            select(
                quarter.label("quarter"),
                calls.c.top,
                func.count().label("calls"),
                func.sum(calls.c.speech_s).label("speech_s"),
            ),
            which,
        ).group_by(quarter, calls.c.top)
        counts: dict[tuple[float, str | None], Count] = {}
        for row in self._rows(query):
            local = datetime.fromtimestamp(row.quarter * QUARTER_S, zone).astimezone(zone)
            key = first(local).timestamp(), row.top
            have = counts.get(key, Count(*key, 0, 0.0))
            counts[key] = Count(*key, have.calls + row.calls, round(have.speech_s + row.speech_s, 3))
        return sorted(counts.values(), key=lambda c: (c.at, c.top or ""))


def _filtered(query: Select[Any], which: Filter) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = []
    if which.since is not None:
        conditions.append(calls.c.began >= which.since)
    if which.until is not None:
        conditions.append(calls.c.began < which.until)
    if which.top is not None:
        conditions.append(calls.c.top == which.top if which.top else calls.c.top.is_(None))
    if which.name is not None:
        conditions.append(or_(_named(which.name), calls.c.labels["call"].as_string() == which.name))
    if which.source is not None:
        conditions.append(calls.c.source.icontains(which.source, autoescape=True))
    if which.state is not None:
        conditions.append(calls.c.state == which.state)
    if which.run is not None:
        conditions.append(calls.c.run == which.run)
    if which.party is not None:
        said = [calls.c.labels[key].as_string() for key in ("from", "to")]
        parties = (which.party,) if isinstance(which.party, str) else which.party
        conditions.append(or_(*(one.in_(parties) for one in said)))
    if which.least_speech_s is not None:
        conditions.append(calls.c.speech_s >= which.least_speech_s)
    return query.where(and_(*conditions)) if conditions else query


def _named(name: str) -> ColumnElement[bool]:
    if not set(name) & set("*?"):
        return calls.c.name == name
    like = "".join({"*": "%", "?": "_"}.get(c, f"\\{c}" if c in "%_\\" else c) for c in name)
    return calls.c.name.like(like, escape="\\")


def _beyond(after: After, oldest: bool) -> ColumnElement[bool]:
    began, id = calls.c.began, calls.c.id
    if oldest:
        return or_(began > after.began, and_(began == after.began, id > after.id))
    return or_(began < after.began, and_(began == after.began, id < after.id))


def _converted(kind: Any, row: Any) -> Any:
    return kind(**row._mapping)
