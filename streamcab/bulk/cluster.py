"""Workers as actors of Ray, on one machine or many, fed with parts by Ray Data.

Only paths and names of parts go through Ray; audio is read, and answers are written, by the workers, in folders that
every node sees under the same path. What Ray does twice leaves one file. Imported only where `--ray` is given.
"""

import logging
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from streamcab import ray_env
from streamcab.bulk.parts import Part, Store
from streamcab.bulk.worker import Done, Job, PartWorker
from streamcab.errors import ComputeError, ConfigError, StreamcabError
from streamcab.extras import missing

STUCK_S = 1800
"""Seconds without a part after which Ray is taken to hang."""


def on_ray(
    address: str, job: Job, store: Store, parts: Sequence[Part], done: Callable[[Done], object]
) -> None:
    """Work off all parts on the cluster at `address`.

    Args:
        address: Of the cluster.
        job: The work.
        store: Where finished parts are kept.
        parts: The parts.
        done: Called with each finished part.

    Raises:
        ComputeError: Ray gave up.
    """
    ray_env.prepare(address)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise missing("ray", "--ray") from None
    from ray.exceptions import RayError

    mark = store.folder / f".run-{uuid4().hex}"
    mark.touch()
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == ray_env.LOCAL else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            for told in _told(ray, job, store, mark, parts):
                done(Done(*(told[name] for name in ("name", "files", "rows", "errors", "seconds"))))
        finally:
            ray.shutdown()
    except ConnectionError as error:
        raise ComputeError(
            f"--ray {address}: no cluster answers there, or its token is another one: {error}"
        ) from None
    except RayError as error:
        raise ComputeError(f"--ray {address}: {_reason(error)}; --resume goes on with what is left") from None
    finally:
        mark.unlink(missing_ok=True)


def _told(ray: Any, job: Job, store: Store, mark: Path, parts: Sequence[Part]) -> Any:
    cpus = int(ray.cluster_resources().get("CPU", 1))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = STUCK_S
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A pool that takes every CPU leaves none for Ray Data's own tasks, and waits for ever.
    most, each = (cpus - 1, 1.0) if cpus > 1 else (1, 0.5)
    rows = [{"part": pickle.dumps(part)} for part in parts]
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Actor,
        fn_constructor_args=(job, store, mark),
        batch_size=1,
        batch_format="pandas",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(rows))),
        num_cpus=each,
    )
    return data.iter_rows()


def _reason(error: Exception) -> str:
    """Return the line of Ray's long text that names the error."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, StreamcabError):
        return str(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class _Actor:
    """A worker within Ray: the model is loaded once."""

    def __init__(self, job: Job, store: Store, mark: Path) -> None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if not mark.exists():
            raise ConfigError(
                f"{store.folder}: is another folder here than where the work was given out; share it"
            )
        self._worker = PartWorker(job, store)

    def __call__(self, batch: Any) -> Any:
        import pandas

        told: list[Done] = []
        self._worker.run((pickle.loads(one) for one in batch["part"]), told.append)
        return pandas.DataFrame([vars(one) for one in told])
