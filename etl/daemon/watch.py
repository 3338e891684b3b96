"""Looks at what nobody else would notice: jobs that hang or were missed, and clocks that jump."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from etl import metrics
from etl.app import App
from etl.clock import Clock
from etl.jobs import Beats, JobState

JUMP_S = 2.0  # smaller steps are how NTP corrects a clock; nothing here depends on them

log = structlog.get_logger()


class Watch:
    """Says each fault once, when it begins."""

    def __init__(self, clock: Clock, beats: Beats, on_jump: Callable[[], None]) -> None:
        self._clock, self._beats, self._on_jump = clock, beats, on_jump
        self._hanging: dict[str, int] = {}
        self._seen = self._clocks()

    def look(self) -> bool:
        """Return whether the service manager may be told that all is well: no vital job hangs or is forgotten."""
        self._look_at_the_clocks()
        states = self._beats.jobs()
        for state in states:
            self._look_at(state)
        return not any(state.job.vital and (state.hangs or state.overdue) for state in states)

    def _look_at_the_clocks(self) -> None:
        (wall_before, before, boot_before), self._seen = self._seen, self._clocks()
        wall, now, boot = self._seen
        by_s = (wall - wall_before) - (now - before)
        if abs(by_s) <= JUMP_S:
            return
        metrics.CLOCK_JUMPS.inc()
        asleep_s = (boot - boot_before) - (now - before)
        log.warning("clock.jumped", by_s=round(by_s, 1), asleep_s=round(asleep_s, 1))
        self._on_jump()

    def _look_at(self, state: JobState) -> None:
        name = state.job.name
        trouble = state.hangs or state.overdue
        if not trouble:
            if self._hanging.pop(name, None) is not None:
                log.info("job.goes_on", job=name, feed=state.job.feed)
        elif self._hanging.get(name) != state.runs:
            self._hanging[name] = state.runs
            metrics.JOB_FAILURES.labels(name).inc()
            metrics.JOB_IRREGULAR.labels(name, "hung" if state.hangs else "overdue").inc()
            said = {"job": name, "feed": state.job.feed, "deadline_s": state.job.deadline_s}
            if state.hangs:
                log.error("job.hangs", **said, running_s=round(state.running_s or 0), stuck_s=round(state.stuck_s))
            else:
                log.error("job.overdue", **said, idle_s=round(state.idle_s), every_s=state.job.every_s)

    def _clocks(self) -> tuple[float, float, float]:
        return self._clock.now().timestamp(), self._clock.monotonic(), self._clock.boottime()


def say_missed(app: App) -> None:
    """Say of each feed that nobody has polled well for too long that runs were missed before this start.

    They are made up by the first one: whatever was done meanwhile waits in the vendor's queue.
    """
    now, ours = app.clock.now(), app.settings.feeds
    with app.open_work() as work:
        feeds = work.figures.look().feeds
    for feed in feeds:
        last_at = feed.last_good_at
        if feed.feed in ours and last_at is not None and feed.state != "paused":
            silent_s = app.trading_hours.trading_s(last_at, now)
            if silent_s > app.settings.ops.stale_after_s:
                job = f"poll-{feed.feed}"
                metrics.JOB_IRREGULAR.labels(job, "missed").inc()
                log.warning(
                    "job.missed", job=job, feed=feed.feed, last_at=last_at.isoformat(), trading_s=round(silent_s)
                )
