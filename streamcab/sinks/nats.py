"""Events to NATS JetStream, with the event's id as `Nats-Msg-Id`: what is sent twice is kept once.

Its client is asyncio's, so it has a loop in a thread of its own, which answers the server's pings too.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamcab.extras import missing
from streamcab.sinks.parcel import Delivered, Later, Outcome, Parcel

if TYPE_CHECKING:
    from nats.aio.client import Client

TIMEOUT_S = 5.0
STREAM = "STREAMCAB"
"""The stream that is made if none takes our subject."""
LENGTH = 1_000_000
"""Messages that a stream of our making keeps."""


class NatsStream:
    """A sink that publishes to `subject`. InstallError."""

    def __init__(self, url: str, subject: str) -> None:
        try:
            import nats
        except ImportError:
            raise missing("nats", "--nats") from None
        self.name, self._url, self._subject = "nats", url, subject
        self._errors: type[Exception] = nats.errors.Error
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats-loop", daemon=True)
        self._thread.start()
        self._client: Client | None = None

    def deliver(self, parcel: Parcel) -> Outcome:
        """Publish one parcel, and wait until it is stored."""
        try:
            self._run(self._publish(parcel))
        except (self._errors, OSError, TimeoutError, Late) as error:
            return Later(str(error) or type(error).__name__)
        return Delivered()

    def close(self) -> None:
        """Close the connection, and end the loop."""
        client = self._client
        if client is not None:
            with suppress(self._errors, OSError, TimeoutError, Late):
                self._run(client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(2 * TIMEOUT_S)
        except Late:
            future.cancel()
            raise

    async def _publish(self, parcel: Parcel) -> None:
        from nats.js.errors import NoStreamResponseError, NotFoundError

        client = await self._connected()
        stream = client.jetstream(timeout=TIMEOUT_S)
        headers = {"Nats-Msg-Id": parcel.uid, "type": parcel.type}
        try:
            await stream.publish(self._subject, parcel.body, headers=headers)
        except NoStreamResponseError:
            try:
                await stream.find_stream_name_by_subject(self._subject)
            except NotFoundError:
                await stream.add_stream(name=STREAM, subjects=[self._subject], max_msgs=LENGTH)
            await stream.publish(self._subject, parcel.body, headers=headers)

    async def _connected(self) -> "Client":
        import nats

        if self._client is None or self._client.is_closed:
            self._client = await nats.connect(
                self._url,
                connect_timeout=int(TIMEOUT_S),
                max_reconnect_attempts=-1,
                allow_reconnect=True,
                error_cb=_silent,
                name="streamcab",
            )
        return self._client


async def _silent(_error: Exception) -> None:
    """Ignore an error that the client would print: it is the outcome of a parcel already."""
