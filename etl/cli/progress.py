"""How long work shows that it moves: one line on stderr, only where a person looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from etl.app import FeedRuntime

REFRESH_S = 0.2


@contextmanager
def while_draining(feed: FeedRuntime) -> Iterator[None]:
    """Show how many messages are landed and booked while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    over = Event()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{feed.name}: asking")

        def watch() -> None:
            while not over.wait(REFRESH_S):
                landed, booked = feed.poller.drained.messages, feed.booker.counts.total()
                progress.update(task, description=f"{feed.name}: {landed} landed, {booked} booked")

        watching = Thread(target=watch, name="progress", daemon=True)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()
