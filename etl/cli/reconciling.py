"""Says meanwhile which comparison of a feed is under way or done, while a command waits for them."""

from __future__ import annotations

from etl.app import App
from etl.cli.output import remark
from etl.runtime import FeedRuntime
from etl.store.repositories.requests import ToldRun

SAY_EVERY_S = 30.0


class RunsTold:
    """Tells each run of one feed as it ends, and at least every SAY_EVERY_S what is under way."""

    def __init__(self, app: App, feed: FeedRuntime) -> None:
        self._app, self._feed = app, feed
        with app.open_work() as work:
            self._after = work.requests.last_run(feed.feed_id)
        self._begun = self._said_at = app.clock.monotonic()

    def __call__(self) -> None:
        """Say what is new, and what is under way where nothing was said for long."""
        now = self._app.clock.monotonic()
        with self._app.open_work() as work:
            runs = work.requests.runs_after(self._feed.feed_id, self._after)
        for run in (each for each in runs if each.result is not None):
            self._after = max(self._after, run.id)
            self._say(f"{run.subject}: {run.result} (run {run.id})")
        if now - self._said_at >= SAY_EVERY_S:
            self._say(f"after {now - self._begun:.0f} s: {under_way(runs)}")

    def _say(self, words: str) -> None:
        self._said_at = self._app.clock.monotonic()
        remark(f"feed {self._feed.name}: {words}")


def under_way(runs: list[ToldRun]) -> str:
    """Return which run is under way; between two, what differs is asked about, or the leader is about to begin."""
    running = [f"{each.subject} (run {each.id})" for each in runs if each.result is None]
    if running:
        return f"under way: {', '.join(running)}"
    return "between two comparisons: the leader ends something else, or asks about what differs"
