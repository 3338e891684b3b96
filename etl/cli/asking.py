"""How a command has the instance that leads a feed do something, and waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from etl.app import App
from etl.cli.output import remark
from etl.errors import EtlError, TransientError
from etl.runtime import FeedRuntime

LOOK_EVERY_S = 0.2


def done_by_leader(
    app: App,
    feed: FeedRuntime,
    kind: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    by: str,
    reason: str = "",
    meanwhile: Callable[[], None] = lambda: None,
) -> Mapping[str, Any] | None:
    """Return what the leader says came of it; None where nobody leads any more and we do: then it is ours to do.

    Raises EtlError with the leader's sentence where it failed. A command that is broken off takes its request back.
    `meanwhile` is called again and again: it may say how far the leader is.
    """
    with app.open_work() as work:
        number = work.requests.make(
            feed.feed_id, kind, arguments or {}, by=by, reason=reason or None, at=app.clock.now()
        )
        leader = work.feeds.leader(feed.feed_id)
        work.commit()
    remark(f"feed {feed.name}: {leader or 'another instance'} leads it and is asked to {kind} (request {number})")
    try:
        return _waited_for(app, feed, number, meanwhile)
    except KeyboardInterrupt:
        _withdraw(app, number)
        raise


def _waited_for(
    app: App, feed: FeedRuntime, number: int, meanwhile: Callable[[], None]
) -> Mapping[str, Any] | None:  # fmt: skip
    while True:
        try:
            with app.open_work() as work:
                request = work.requests.get(number)
            if request.over:
                if request.error is not None:
                    raise EtlError(f"feed {feed.name}: {request.error}")
                return request.result
            if feed.lead():
                _withdraw(app, number)
                return None
            meanwhile()
        except TransientError as error:
            remark(f"feed {feed.name}: {error}")
        app.clock.wait(app.stop, LOOK_EVERY_S)


def _withdraw(app: App, number: int) -> None:
    with app.open_work() as work:
        work.requests.withdraw(number, app.clock.now())
        work.commit()
