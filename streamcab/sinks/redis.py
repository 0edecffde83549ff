"""Events to a Redis stream by XADD: fields `id`, `type` and `event`, which is the JSON."""

from typing import TYPE_CHECKING

from streamcab.errors import ConfigError
from streamcab.extras import missing
from streamcab.sinks.parcel import Delivered, Later, Outcome, Parcel, Refused

if TYPE_CHECKING:
    from redis import Redis

TIMEOUT_S = 5.0
LENGTH = 100_000
"""Entries that the stream keeps, about."""


class RedisStream:
    """A sink that appends to the stream `key`. InstallError, ConfigError."""

    def __init__(self, url: str, key: str) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise missing("redis", "--redis") from None
        self.name, self._key = "redis", key
        self._errors: type[Exception] = redis.RedisError
        self._wrong: type[Exception] = redis.ResponseError
        try:
            # Its own retries would hold us for seconds; ours survive a restart.
            self._client: Redis = redis.Redis.from_url(
                url,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
            )
        except ValueError as error:
            raise ConfigError(f"--redis is no URL: {error}; write redis://HOST:6379/0") from None

    def deliver(self, parcel: Parcel) -> Outcome:
        """Append one parcel."""
        fields = {"id": parcel.uid, "type": parcel.type, "event": parcel.body}
        try:
            self._client.xadd(self._key, fields, maxlen=LENGTH, approximate=True)  # type: ignore[arg-type]
        except self._errors as error:
            wrong = isinstance(error, self._wrong) and "WRONGTYPE" in str(error)
            return Refused(str(error)) if wrong else Later(str(error) or type(error).__name__)
        except OSError as error:
            return Later(str(error))
        return Delivered()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
