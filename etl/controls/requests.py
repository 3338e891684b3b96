"""The leader's side of a request: begin it once, do it, write what came of it (design.md §5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from etl.clock import Clock
from etl.errors import EtlError, FenceLostError
from etl.store.repositories.requests import Request
from etl.store.unit_of_work import OpenWork

Deed = Callable[[Request], Mapping[str, Any]]
"""Does what is wanted and returns the result for whoever asked, fit for JSON. Doing it twice must be harmless."""

log = structlog.get_logger()


class Requests:
    """What commands want of one feed, done by the leader, one after the other; `deeds` by the kind of request."""

    def __init__(
        self, feed_id: int, open_work: OpenWork, *, clock: Clock, epoch: Callable[[], int], deeds: Mapping[str, Deed]
    ) -> None:
        self._feed_id, self._open_work, self._clock, self._epoch = feed_id, open_work, clock, epoch
        self._deeds = deeds

    def step(self) -> Mapping[str, int]:
        """Do all that is wanted; return how many requests ended well and how many failed.

        A request whose leader was lost in the middle is begun again by the next one. Raises FenceLostError.
        """
        counts = {"requests_done": 0, "requests_failed": 0}
        while (request := self._begin()) is not None:
            result, error = self._do(request)
            with self._open_work() as work:
                work.requests.end(request.id, epoch=self._epoch(), at=self._clock.now(), result=result, error=error)
                work.commit()
            log.info(
                "request.ended",
                request_id=request.id,
                kind=request.kind,
                requested_by=request.requested_by,
                error=error,
            )
            counts["requests_done" if error is None else "requests_failed"] += 1
        return counts

    def _begin(self) -> Request | None:
        with self._open_work() as work:
            if not work.requests.any_wanted(self._feed_id, self._epoch()):
                return None
            work.feeds.hold_fence(self._feed_id, self._epoch())
            request = work.requests.take(
                self._feed_id, list(self._deeds), epoch=self._epoch(), at=self._clock.now()
            )  # fmt: skip
            work.commit()
        return request

    def _do(self, request: Request) -> tuple[Mapping[str, Any] | None, str | None]:
        try:
            return self._deeds[request.kind](request), None
        except FenceLostError:
            raise
        except EtlError as error:
            return None, str(error)
        except Exception as error:  # whoever asked must not wait for ever; then it goes on as a bug
            log.exception("request.failed", request_id=request.id, kind=request.kind)
            return None, f"{type(error).__name__}; the log of the daemon has the traceback"
