"""Shards as actors of Ray: placed, spread over machines, and replaced when they die.

Only orders and reports go through Ray, a call a second and shard. Imported only where `--ray` is given.
"""

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from streamcab import ray_env
from streamcab.errors import ComputeError
from streamcab.extras import missing
from streamcab.shards.remote import Answer, Remote, ShardLost

CALLS = 8
"""Methods of a shard that may run at a time: one that hangs must not keep it from reporting."""


class RayCluster:
    """`count` shards on the cluster at `address`, each made by `kind(host)` in an actor. Implements Cluster.

    Raises:
        ConfigError, InstallError: It cannot be used.
        ComputeError: No cluster answers there.
    """

    def __init__(self, address: str, count: int, kind: type[Any]) -> None:
        ray_env.prepare(address)
        os.environ.setdefault(
            "RAY_worker_niceness", "0"
        )  # Ray's 15 would make live calls wait for everything
        try:
            import ray
        except ModuleNotFoundError:
            raise missing("ray", "--ray") from None
        local = address == ray_env.LOCAL
        handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            ray.init(
                address=address,
                include_dashboard=False if local else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace="streamcab",
            )
        except (ConnectionError, ValueError) as error:
            raise ComputeError(
                f"--ray {address}: no cluster answers there, or its token is another one: {error}"
            ) from None
        for one, handler in handlers.items():  # Ray's own would abort, and the calls with it
            signal.signal(one, handler)
        self._ray = ray

        class Actor(kind):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(ray.util.get_node_ip_address())

        made = ray.remote(Actor).options(
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=CALLS,
            num_cpus=1,
            scheduling_strategy="SPREAD",
        )
        self._shards = [_RayShard(ray, made.remote()) for _ in range(count)]

    def shards(self) -> Sequence[Remote]:
        """See Cluster."""
        return self._shards

    def close(self) -> None:
        """See Cluster."""
        self._ray.shutdown()


class _RayShard:
    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def ask(self, method: str, *args: Any) -> Answer:
        """See Remote."""
        return _RayAnswer(self._ray, getattr(self._actor, method).remote(*args))

    def kill(self) -> None:
        """See Remote."""
        with suppress(Exception):  # it is gone already
            self._ray.kill(self._actor, no_restart=False)


class _RayAnswer:
    def __init__(self, ray: Any, ref: Any) -> None:
        self._ray, self._ref = ray, ref

    def done(self) -> bool:
        """See Answer."""
        ready, _ = self._ray.wait([self._ref], timeout=0)
        return bool(ready)

    def result(self) -> Any:
        """See Answer."""
        from ray.exceptions import RayError

        try:
            return self._ray.get(self._ref, timeout=1)
        except RayError as error:
            raise ShardLost(f"Ray: {type(error).__name__}") from None
