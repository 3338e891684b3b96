"""How long work shows that it moves, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from etl.cli.output import remark
from etl.runtime import FeedRuntime

REFRESH_S = 0.2
SAY_EVERY = 10  # parts of the whole, where a line is written for each


@contextmanager
def while_draining(feed: FeedRuntime) -> Iterator[None]:
    """Show how many messages are landed and booked while the block runs; only where a person looks."""
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


@contextmanager
def while_booking(feed: FeedRuntime, total: int) -> Iterator[None]:
    """Show how many of a known number of messages are booked: a bar on a terminal, else a line for each tenth."""
    console = Console(stderr=True)
    over = Event()
    columns = (TextColumn("booking"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("booking", total=total)

        def watch() -> None:
            tenths_said = 0
            while not over.wait(REFRESH_S / 4):
                tenths_said = tell(tenths_said)
            tell(tenths_said)

        def tell(tenths_said: int) -> int:
            booked = feed.booker.counts.total()
            progress.update(task, completed=booked)
            tenths = booked * SAY_EVERY // total
            if tenths > tenths_said and not console.is_terminal:
                remark(f"booked {booked:,} of {total:,} trades")
            return tenths

        watching = Thread(target=watch, name="progress", daemon=True)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()
