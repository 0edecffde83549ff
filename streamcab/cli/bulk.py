"""`classify` for many files: prints answers as they come, or writes them to a table.

Knows click; nothing of nets or of audio.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcab.cli.command import say
from streamcab.cli.load import gate_of, load_checkpoint, load_classifier
from streamcab.cli.notice import loaded, loading
from streamcab.config.commands import Classify
from streamcab.text import printable

if TYPE_CHECKING:
    from streamcab.bulk.answering import How
    from streamcab.bulk.listing import Listing
    from streamcab.bulk.parts import Part, Store
    from streamcab.bulk.row import Row
    from streamcab.bulk.worker import Job, OnProgress
    from streamcab.message import Prediction
    from streamcab.view.answers import Bar

FEW = 20
"""Files whose answers are a table in a terminal, and need no bar."""


def printed(o: Classify, words: list[str]) -> int:
    """Answers on standard output, in the order of the list; how many files have none."""
    from streamcab.bulk.listing import listed

    listing = listed(words)
    say_doubles(listing)
    few = len(listing.entries) <= FEW
    table: list[tuple[str, Prediction | str]] | None = (
        [] if few and sys.stdout.isatty() and not o.json else None
    )
    failed = set()
    jobs = _jobs(o)
    rows = _rows_here(o, listing) if jobs == 1 else _rows_by_many(o, listing, jobs)
    for row in rows:
        if row.notes:
            click.echo(printable(f"Warning: {row.name}: {row.notes}"), err=True)
        if row.error:
            failed.add(row.number)
        name = row.name if o.segments is None else f"{row.name} {row.start_s:g}-{row.end_s:g} s"
        if table is not None:
            table.append((printable(name), printable(row.error) if row.answer is None else row.answer))
        else:
            print_row(o, name, row)
    if table:
        from streamcab.view.answers import show

        show(table)
    if not few:
        _sum_up(len(listing.entries), len(failed), "")
    return len(failed)


def print_row(o: Classify, name: str, row: "Row") -> None:
    """Print an answer on standard output, or an error on standard error."""
    answer = row.answer
    if answer is None:
        click.echo(printable(f"Error: {row.error}"), err=True)
    elif o.json:
        from streamcab.message import encode

        click.echo(encode(answer).decode())
    elif answer.top is None:
        click.echo(printable(f"{name}: no speech"))
    else:
        from streamcab.view.words import doubt

        probs = "  ".join(f"{label} {p:.2f}" for label, p in answer.probs.items())
        line = f"{name}: {answer.top}  ({probs}; {answer.voiced_s:.1f} s voiced)  {doubt(answer)}"
        click.echo(printable(line.rstrip()))


def into_table(o: Classify, words: list[str], out: Path) -> int:
    """Answers into a table or a folder; how many files have none."""
    from streamcab.bulk import parts as kept
    from streamcab.bulk import tables
    from streamcab.bulk.listing import listed

    folder = out.suffix.lower() not in tables.KINDS and (out.is_dir() or not out.suffix)
    if folder:
        tables.need_parquet(out)
    else:
        tables.check(out)
    listing = listed(words)
    say_doubles(listing)
    work = _work(o, listing)
    if o.resume and (out / kept.INDEX if folder else out).exists():
        say(f"{out}: is complete; nothing is left to do")
        return 0
    where = out if folder else out.with_name(f".{out.name}.parts")
    suffix = ".parquet" if folder else ".jsonl"
    store = kept.opened(where, work.labels, suffix, resume=o.resume, whole=out)
    there = store.done(work.parts)
    if there:
        files = sum(len(part.entries) for part in there)
        click.echo(f"Continuing: {files} of {len(listing.entries)} files are answered already.", err=True)
    failed = _run(o, work, store, there)
    if folder:
        store.finish(
            work.parts, {"model": work.job.hash, "labels": work.labels, "files": len(listing.entries)}
        )
    else:
        hidden = where / out.name
        tables.write(hidden, _all_rows(store, work.parts), work.labels, out.suffix.lower())
        hidden.replace(out)
        shutil.rmtree(where)
    _sum_up(len(listing.entries), failed, f"; answers in {out}")
    return failed


@dataclass(frozen=True)
class _Work:
    job: "Job"
    labels: list[str]
    parts: "list[Part]"


def _work(o: Classify, listing: "Listing") -> _Work:
    from streamcab.bulk.parts import PART_S, cut
    from streamcab.bulk.worker import Job

    loading()
    checkpoint, _ = load_checkpoint(o.model, o.compute)
    loaded()
    how = _how(o)
    salt = f"{checkpoint.hash} {how}"
    part_s = 6 * PART_S if o.ray else PART_S
    job = Job(o.model, checkpoint.hash, o.compute, o.threads or 1, how)
    return _Work(job, list(checkpoint.architecture.labels), cut(listing.entries, salt, part_s))


def _run(o: Classify, work: _Work, store: "Store", there: "list[Part]") -> int:
    """Work off the parts that are left; return the number of files with errors."""
    from streamcab.view.answers import progress

    left = [part for part in work.parts if part not in set(there)]
    failed = store.errors(there)
    total = sum(len(part.entries) for part in left)
    with progress(total, shown=sys.stderr.isatty()) as bar:
        if o.ray:
            from streamcab.bulk.cluster import on_ray

            on_ray(o.ray, work.job, store, left, lambda done: bar.heard(done.files, done.seconds))
        else:
            _hear(work.job, store, left, _jobs(o), bar.heard)
    return failed + store.errors(left)


def _hear(job: "Job", store: "Store", left: "list[Part]", jobs: int, heard: "OnProgress") -> None:
    from streamcab.bulk.pool import in_processes
    from streamcab.bulk.worker import PartWorker

    if jobs > 1 and len(left) > 1:
        in_processes(job, store, left, jobs, lambda done: None, heard)
    elif left:
        PartWorker(job, store).run(left, lambda done: None, heard)


def _rows_here(o: Classify, listing: "Listing") -> "Iterator[Row]":
    # First: it says that it loads, before anything heavy is imported.
    classifier = load_classifier(o.model, o.compute, o.threads)
    from streamcab.bulk.answering import AT_ONCE, answered

    at_once = min(AT_ONCE, max(len(listing.entries), 1))
    with _bar(listing) as bar:
        for one in answered(classifier, listing.entries, _how(o), at_once, bar.heard):
            yield from one.rows


def _rows_by_many(o: Classify, listing: "Listing", jobs: int) -> "Iterator[Row]":
    """Answer the same from many processes, by way of a folder of parts, when all are done."""
    from streamcab.bulk.parts import Store

    work = _work(o, listing)
    with tempfile.TemporaryDirectory(prefix="streamcab-") as folder, _bar(listing) as bar:
        store = Store(Path(folder), work.labels)
        _hear(work.job, store, work.parts, jobs, bar.heard)
        yield from _all_rows(store, work.parts)


def _bar(listing: "Listing") -> "AbstractContextManager[Bar]":
    """Return the progress bar, shown on a terminal unless the answers go there too, or are few."""
    from streamcab.view.answers import progress

    shown = len(listing.entries) > FEW and sys.stderr.isatty() and not sys.stdout.isatty()
    return progress(len(listing.entries), shown=shown)


def _all_rows(store: "Store", parts: "Iterable[Part]") -> "Iterator[Row]":
    for part in parts:
        yield from store.rows(part)


def _how(o: Classify) -> "How":
    from streamcab.bulk.answering import How

    return How(o.channel, gate_of(o.gate), o.segments)


def _jobs(o: Classify) -> int:
    return o.jobs or len(os.sched_getaffinity(0))


def say_doubles(listing: "Listing") -> None:
    """Report duplicates on standard error, if there are any."""
    if listing.doubles:
        click.echo(f"Note: {listing.doubles} files were listed twice and are answered once.", err=True)


def _sum_up(files: int, failed: int, more: str) -> None:
    errors = f"{failed} with errors" if failed else "no errors"
    click.echo(printable(f"{files} files, {errors}{more}"), err=True)
