"""Calls by WebSocket, a store and a page, all of one daemon: fifty calls, a kill, and a restart."""

import asyncio
import contextlib
import http.client
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_messages import twilio_media, twilio_start, twilio_stop
from patience import until
from ports import free_port
from serving import ANYWHERE, running, save_model
from speech import SMALL_STAGES, talk, tiny_model
from web_page import Client
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from streamcab.errors import StoreError
from streamcab.nn.checkpoint import Checkpoint
from streamcab.rtp.codec import TABLES
from streamcab.store.read import Filter, Reader, StoredCall

CALLS = 50
MESSAGE_S = 0.1


@contextmanager
def calling(url: str) -> Iterator[None]:
    """Calls that talk, in a thread of their own; those whose server goes away dial again until it is back."""
    samples, table = talk(20).astype(np.float32) * 32768, TABLES["PCMU"].astype(np.int32)
    order = np.argsort(table)
    codes = order[np.clip(np.searchsorted(table[order], samples), 0, 255)].astype(np.uint8).tobytes()
    size = round(8000 * MESSAGE_S)
    said = [codes[at : at + size] for at in range(0, len(codes) - size, size)]
    over = threading.Event()

    async def one(number: int) -> None:
        call, stream = f"CA{number:02d}", f"MZ{number:02d}"
        k = 0
        while not over.is_set():
            try:
                async with connect(url, compression=None) as socket:
                    await socket.send(twilio_start(call, stream, queue=f"queue-{number}"))
                    while not over.is_set():
                        at_ms = round(1000 * MESSAGE_S * k)
                        await socket.send(
                            twilio_media(said[(k + 7 * number) % len(said)], at_ms, stream=stream)
                        )
                        k += 1
                        await asyncio.sleep(MESSAGE_S)
                    await socket.send(twilio_stop(call, stream))
            except (OSError, WebSocketException, TimeoutError):
                await asyncio.sleep(0.2)

    async def everyone() -> None:
        await asyncio.gather(*map(one, range(CALLS)))

    thread = threading.Thread(target=lambda: asyncio.run(everyone()))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stored(where: Path, state: str) -> list[StoredCall]:
    try:
        with Reader(str(where)) as store:
            return store.calls(Filter(state=state))
    except StoreError:
        return []


def on_the_page(page: Client) -> dict[str, Any]:
    """The live calls by the id of their platform, each with its row; nothing where there is no page."""
    with contextlib.suppress(OSError, http.client.HTTPException, StopIteration), page.events() as events:
        tick = next(events)
        rows = {row[0]: row for row in tick["rows"] if row[9] is None}
        return {intro[4].get("call"): rows[intro[0]] for intro in tick["new"] if intro[0] in rows}
    return {}


def test_fifty_calls_are_seen_and_kept_and_a_kill_costs_seconds(tmp_path: Path) -> None:
    model = save_model(Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), tmp_path)
    where, media, web = tmp_path / "calls.db", free_port(), free_port()
    words = [
        *("listen", "--model", str(model), "--endpoint", ANYWHERE, "--quiet", "--max-streams", "64"),
        *("--media", f"127.0.0.1:{media}", "--web", f"127.0.0.1:{web}"),
        *("--store", str(where), "--store-min-free-gb", "0"),
    ]
    page, ids = Client(f"http://127.0.0.1:{web}/"), {f"CA{n:02d}" for n in range(CALLS)}

    def answered() -> bool:
        shown = on_the_page(page)
        return set(shown) >= ids and all(shown[id][8] for id in ids)

    with calling(f"ws://127.0.0.1:{media}/twilio"):
        with running(*words) as process:
            until(answered)
            until(lambda: sum(call.speech_s > 2 for call in stored(where, "open")) == CALLS)
            before = {call.id: call.seen for call in stored(where, "open")}
            process.send_signal(signal.SIGKILL)
            process.wait()
        with running(*words) as process:
            until(answered)
            until(lambda: len(stored(where, "open")) == CALLS)
            cut = stored(where, "interrupted")
            assert {call.labels["call"] for call in cut} == ids
            assert all(call.seen >= before[call.id] for call in cut)
            assert all(
                call.labels["queue"] == f"queue-{call.labels['call'][2:].lstrip('0') or 0}" for call in cut
            )
            process.send_signal(signal.SIGTERM)
            process.communicate()
            assert process.returncode == 0
    assert not stored(where, "open")
    assert {call.labels["call"] for call in stored(where, "ended")} == ids
    with Reader(str(where)) as store:
        assert all(store.pieces(call) for call in cut)
        assert len(store.calls(Filter(name="CA07"))) == 2


pytestmark = pytest.mark.timeout(900)
