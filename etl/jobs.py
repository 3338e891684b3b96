"""A job, and one run of it: timed, counted, logged in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

import structlog
from structlog.contextvars import bound_contextvars

from etl import metrics
from etl.clock import Clock
from etl.errors import OperatorError, TransientError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """Something done again and again. `run` returns what it counted; nothing counted is not worth a line."""

    name: str
    every_s: float
    run: Callable[[], Mapping[str, int]]


def execute(job: Job, clock: Clock) -> None:
    """Run the job once, and say in one line how it went; never raises, so that the scheduler goes on."""
    with bound_contextvars(job=job.name, run_id=uuid4().hex):
        started = clock.monotonic()
        try:
            counts = job.run()
        except TransientError as error:
            metrics.JOB_FAILURES.labels(job.name).inc()
            log.warning("job.deferred", error=str(error))
        except OperatorError as error:
            metrics.JOB_FAILURES.labels(job.name).inc()
            log.error("job.refused", error=str(error))  # a sentence for a person, no traceback
        except Exception:  # the one broad except: nothing may stop the scheduler
            metrics.JOB_FAILURES.labels(job.name).inc()
            log.exception("job.failed")
        else:
            took = clock.monotonic() - started
            metrics.JOB_SECONDS.labels(job.name).observe(took)
            if any(counts.values()):
                log.info("job.finished", duration_s=round(took, 3), **counts)
