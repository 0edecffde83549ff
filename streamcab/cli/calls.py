"""The commands `streamcab calls ...`: options in, rows out. Knows click, and nothing of databases."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcab.cli.command import Command, Group, say
from streamcab.cli.options import settings
from streamcab.config.commands import Calls
from streamcab.errors import ConfigError, StoreError
from streamcab.text import LISTED, plural, stream_name

if TYPE_CHECKING:
    from datetime import tzinfo

    from streamcab.ops.pseudonyms import Pseudonyms
    from streamcab.store.read import Filter, Reader, StoredCall

TRACKS = ("inbound", "outbound", "caller", "callee", "agent")
"""How the names of a call's streams end where it has several."""


@click.group(cls=Group)
def calls() -> None:
    """List, show, export and delete the calls that `listen --store` has kept."""


@calls.command("list", cls=Command)
@settings(Calls)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Lines at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def show_all(o: Calls, limit: int, as_json: bool) -> None:
    """The newest calls first, a line each."""
    import msgspec

    from streamcab.store.read import Reader
    from streamcab.store.when import zone_of

    with Reader(o.store) as store:
        which = _filter(o)
        found = store.calls(which, limit)
        if as_json:
            for call in found:
                click.echo(msgspec.json.encode(call).decode())
            return
        zone, count = zone_of(o.zone), store.count(which)
        width = min(max((len(call.name) for call in found), default=4), LISTED)
        for call in found:
            say(_line(call, zone, width))
        if len(found) < count:
            say(f"{len(found)} of {count} calls; --limit shows more, `calls export` all")
        elif not found:
            click.echo(f"no call matches{_instead(o, store)}", err=True)


@calls.command(cls=Command)
@click.argument("id", type=int)
@settings(Calls)
def show(o: Calls, id: int) -> None:
    """One call, by its number: all that is known, and its course by 10 s."""
    from streamcab.store.read import Reader
    from streamcab.store.when import shown, zone_of

    with Reader(o.store) as store:
        call = store.call(id)
        if call is None:
            raise StoreError(f"there is no call {id}; `streamcab calls list` shows their numbers")
        zone = zone_of(o.zone)
        answer = "-" if call.top is None else f"{call.top} {call.confidence or 0:.0%}"
        rows = [
            ("call", f"{call.id} {call.name}"),
            ("source", call.source),
            ("began", shown(call.began, zone)),
            ("ended", shown(call.ended, zone) + (f" ({call.state})" if call.state != "ended" else "")),
            (
                "audio",
                f"{call.audio_s:.1f} s, speech {call.speech_s:.1f} s, lost {call.lost_ms / 1000:.1f} s",
            ),
            ("answer", answer + (" (not sure)" if call.sure is False else "")),
            ("another accent", "" if call.other is None else f"{call.other:.3f}"),
            ("probabilities", ", ".join(f"{label} {p:.3f}" for label, p in call.probs.items())),
            ("model", call.model),
            ("flaws", ", ".join(call.flaws)),
            ("detail", call.detail),
        ]
        for name, text in rows:
            if text:
                say(f"{name:<14}  {text}")
        # Apart: these names are anybody's, and may be those above.
        for n, (key, value) in enumerate(call.labels.items()):
            say(f"{'' if n else 'platform says':<14}  {key}: {value}")
        models = store.models()
        labels = models[call.model].labels if call.model in models else []
        found = store.pieces(call)
        several = any(piece.voice > 1 for piece in found)
        for piece in found:
            probs = "  ".join(f"{label} {p:.2f}" for label, p in zip(labels, piece.probs, strict=False))
            voice = f"  voice {piece.voice}" if several else ""
            flaws = f"  {', '.join(piece.flaws)}" if piece.flaws else ""
            say(f"  {shown(piece.n * 10, zone)[11:]}  speech {piece.speech_s:4.1f} s{voice}  {probs}{flaws}")


@calls.command(cls=Command)
@settings(Calls)
@click.option(
    "--format", "kind", type=click.Choice(["csv", "jsonl", "parquet"]), help="Default: by --out, else csv."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output.")
@click.option("--pieces", is_flag=True, help="A row per 10 s in place of one per call.")
def export(o: Calls, kind: str | None, out: Path | None, pieces: bool) -> None:
    """Export all matching calls, oldest first, as CSV, JSON lines or Parquet."""
    from streamcab.store import export as e
    from streamcab.store.read import Reader
    from streamcab.store.when import zone_of

    kind = e.format_of(out, kind)
    if out is None and kind == "parquet" and sys.stdout.isatty():
        raise ConfigError("Parquet is no text for a terminal: add --out calls.parquet")
    write, zone = e.FORMATS[kind], zone_of(o.zone)
    with Reader(o.store) as store:
        found = store.every(_filter(o))
        rows = e.pieces(store, found) if pieces else e.calls(found)
        if out is None:
            write(rows, sys.stdout.buffer, zone)
            sys.stdout.buffer.flush()
            return
        try:
            with out.open("wb") as file:
                n = write(rows, file, zone)
        except OSError as error:
            raise StoreError(f"cannot write {out}: {error.strerror}") from None
    click.echo(f"{n} rows in {out}", err=True)


@calls.command(cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@settings(Calls)
@click.option(
    "--hash-salt",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Salt of the pseudonyms of these names, which are deleted too.  [default: this installation's]",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(o: Calls, names: tuple[str, ...], hash_salt: Path | None, yes: bool) -> None:
    """Delete all calls of a NAME or pseudonym, for good; those from and to it too, where a platform says.

    * and ? stand for anything. Nothing of them stays in the database; exports, backups and what sinks have sent
    are yours to find.
    """
    from streamcab.store.database import connect, url_of
    from streamcab.store.read import Reader
    from streamcab.store.upkeep import erase

    with Reader(o.store) as store:
        wanted = _spellings(names, hash_salt)
        found = {c.id: c for name in wanted for c in store.every(_filter(o, name))}
        found |= {c.id: c for name in wanted for c in store.every(replace(_filter(o), party=name))}
        if not found:
            hint = (
                ""
                if hash_salt
                else "; where names or numbers are hidden, give the daemon's salt: --hash-salt"
            )
            raise StoreError(f"no call of {', '.join(names)} is kept in this store{hint}")
        counted = f"{plural(len(found), 'call')} of {', '.join(sorted({c.name for c in found.values()}))}"
        if not yes:
            click.confirm(f"Delete {counted} for good?", abort=True)
        engine = connect(url_of(o.store), write=True)
        try:
            erase(engine, list(found))
        finally:
            engine.dispose()
        say(f"deleted: {counted}")
        if any(call.state == "open" for call in found.values()):
            say(
                "some of them go on: what is said from now on is written again; repeat this when they have ended"
            )
        # A name that was taken got a number, so its owner is unknown here.
        near = {c.name for name in wanted for c in store.every(_filter(o, f"{name}-?"))} - set(wanted)
        if near:
            say(f"kept, as they may be somebody else's: {', '.join(sorted(near))}")


def _spellings(names: tuple[str, ...], salt: Path | None) -> list[str]:
    """Return the names that these may have in a store: as given, as streams are called, and their pseudonyms."""
    found = dict.fromkeys(names)
    for name in names:
        if not set(name) & set("*?"):
            found |= dict.fromkeys((stream_name(name), stream_name(name, also=":@")))
    if (pseudonyms := _pseudonyms(salt)) is not None:
        plain = [name for name in found if not set(name) & set("*?")]
        # Of a call whose id is hidden too, only the names of its streams can be made again.
        plain += [f"{name}-{track}" for name in plain for track in TRACKS]
        found |= dict.fromkeys(map(pseudonyms.name, plain))
    return list(found)


def _pseudonyms(salt: Path | None) -> "Pseudonyms | None":
    from streamcab.ops.pseudonyms import Pseudonyms

    return Pseudonyms.load(salt) if salt is not None else Pseudonyms.of_this_installation()


def _filter(o: Calls, name: str | None = None) -> "Filter":
    from streamcab.store.read import Filter
    from streamcab.store.when import day, moment, zone_of

    zone, now = zone_of(o.zone), time.time()
    since = moment(o.since, zone, now) if o.since else None
    until = moment(o.until, zone, now) if o.until else None
    if o.day:
        if since is not None or until is not None:
            raise ConfigError("--day is a whole day: leave out --since and --until")
        since, until = day(o.day, zone)
    if since is not None and until is not None and since >= until:
        raise ConfigError("--until is not after --since: no call began between them")
    top = "" if o.accent == "-" else o.accent
    pseudonyms = _pseudonyms(None) if o.party else None
    party = o.party and (o.party, *([pseudonyms.name(o.party)] if pseudonyms else []))
    return Filter(since, until, top, name or o.name, o.source, o.state, party=party)


def _instead(o: Calls, store: "Reader") -> str:
    """Return what to write in place of an answer that no call has."""
    known = [total.value or "-" for total in store.accents()]
    return f"; the answers here: {', '.join(known)}" if o.accent not in (None, *known) and known else ""


def _line(call: "StoredCall", zone: "tzinfo | None", width: int) -> str:
    from streamcab.store.when import shown

    answer = "-" if call.top is None else f"{call.top} {call.confidence or 0:.0%}"
    marks = [*([call.state] if call.state != "ended" else []), *call.flaws]
    if call.sure is False:
        marks.insert(0, "not sure")
    if call.lost_ms:
        marks.append(f"lost {call.lost_ms / 1000:.1f} s")
    took = max(call.seen - call.began, 0)
    return (
        f"{call.id:<14} {shown(call.began, zone)}  {took:6.0f} s  speech {call.speech_s:6.1f} s  "
        f"{call.name:<{width}}  {answer:<14}  {', '.join(marks)}"
    ).rstrip()
