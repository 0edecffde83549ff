"""The program of a worker of `listen --workers`: a daemon with a share of the calls.

Its orders come on standard input, from streamcab/workers/process.py; it ends when that closes. Errors that keep it from
starting go to standard output, for the pool to say.
"""

import gc
import logging
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from streamcab.errors import StreamcabError
from streamcab.message import ModelInfo
from streamcab.workers.process import Orders, Told, unpacked

if TYPE_CHECKING:
    from streamcab.soak.worker import Rehearsal
    from streamcab.source import Source
    from streamcab.workers.room import Room

WAITING = 100_000
"""Entries that wait for the pool at most, before new ones are dropped."""


def main(rehearse: "Callable[[Orders, threading.Event], Rehearsal] | None" = None) -> int:
    """Follow the orders of standard input; return the exit code. `rehearse`: with calls and a clock of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    pool = os.getppid()
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    teller = _Teller(sys.stdout.buffer)
    try:
        _serve(orders, stop, teller, rehearse(orders, stop) if rehearse else None)
    except StreamcabError as error:
        teller(Told(error=str(error)))
        return error.exit_code
    except Exception:
        logging.getLogger("streamcab").exception("internal error in a worker")
        return 1
    finally:
        teller.close()
        if os.getppid() != pool:  # it was killed, and cannot tidy up itself
            shutil.rmtree(Path(orders.names).parent, ignore_errors=True)
    return 0


def _serve(orders: Orders, stop: threading.Event, teller: "_Teller", rehearsal: "Rehearsal | None") -> None:
    from streamcab.calls import Entry, Tally
    from streamcab.cli.listen import settings_for
    from streamcab.cli.load import backend_maker, load_checkpoint
    from streamcab.cli.sources import media_source, rtp_source
    from streamcab.clock import MACHINE
    from streamcab.daemon.loop import Daemon
    from streamcab.daemon.reload import Parts, Reload, limits
    from streamcab.ops import logs
    from streamcab.ops.notify import from_environment
    from streamcab.ops.pseudonyms import Pseudonyms
    from streamcab.record.recorder import Recorder
    from streamcab.record.retention import Retention
    from streamcab.workers.last_words import LastWords
    from streamcab.workers.local_feed import LocalFeed
    from streamcab.workers.names import SharedNames
    from streamcab.workers.room import Room

    o = newest = unpacked(orders.settings)
    journal = logs.start(o.log.log_level, logs.form_for(o.log.log_format, o.log.log_file), o.log.log_file)
    pseudonyms = Pseudonyms.load(o.names.hash_salt) if o.names.hash_names else None
    if pseudonyms is not None:
        pseudonyms.know(*([o.rtp.sdp] if o.rtp.sdp else []))
        journal.learn, journal.scrub = pseudonyms.learn, pseudonyms.scrub
    checkpoint, device = load_checkpoint(o.net.model, o.net.compute)
    if o.answers.voices == 1:
        checkpoint = checkpoint.with_one_voice
    backend = backend_maker(checkpoint, device, o.net.backend, o.net.precision, o.net.threads)
    sources: list[Source] = [rehearsal.source] if rehearsal else []
    if not rehearsal and orders.sockets.rtp:
        sources.append(rtp_source(o, orders.sockets.ports()))
    if o.media.media or o.media.audiosocket:
        sources.append(media_source(o, partial(_room, Room(orders.room), orders.index)))

    def tell(entry: Entry | ModelInfo) -> None:
        teller(Told(model=entry) if isinstance(entry, ModelInfo) else Told(entry=entry))

    with ExitStack() as around:
        recorder = None
        if o.recordings.record:
            kept = Retention(o.recordings.record, limits(o.recordings), processes=orders.workers)
            recorder = Recorder(kept)
            around.callback(recorder.close)
        daemon = Daemon(
            checkpoint,
            sources,
            settings_for(o, pseudonyms),
            backend(o.max_streams),
            from_environment(),
            clock=rehearsal.clock if rehearsal else MACHINE,
            recorder=recorder,
            beside=[journal.counters],
            taps=[Tally(tell)] if orders.tells else [],
            names=SharedNames(Path(orders.names), orders.index, orders.suffix),
            feed=LocalFeed(orders.endpoint, orders.run, LastWords(orders.words), orders.floor),
        )
        reload = Reload(o, lambda: newest, journal, level=logging.DEBUG)
        parts = Parts(daemon, sources, recorder)

        def obey() -> None:
            nonlocal newest
            for line in sys.stdin.buffer:
                newest = unpacked(msgspec.json.decode(line))
                reload(parts)
            stop.set()

        threading.Thread(target=obey, name="orders", daemon=True).start()
        gc.freeze()  # else the interpreter walks all of torch at its exit, which takes more than a second
        daemon.run(stop)


def _room(room: "Room", index: int, free: int) -> bool:
    """Tell the other workers how much room this one has; return whether any has some."""
    room.say(index, free)
    return room.any()


class _Teller:
    """Writes lines in a thread of its own, since the pool may read late; from any thread."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._queue: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="teller", daemon=True)
        self._thread.start()

    def __call__(self, told: Told) -> None:
        """Take a message to send; never blocks."""
        if self._queue.qsize() < WAITING:
            self._queue.put(told)

    def close(self) -> None:
        """Write the remaining messages, for a second at most."""
        self._queue.put(None)
        self._thread.join(1.0)

    def _write(self) -> None:
        encode = msgspec.json.Encoder().encode
        while (told := self._queue.get()) is not None:
            try:
                self._out.write(encode(told) + b"\n")
                if self._queue.empty():
                    self._out.flush()
            except OSError:  # the pool is gone
                return


if __name__ == "__main__":
    sys.exit(main())
