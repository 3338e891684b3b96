"""Requests that the vendor executes after their senders are gone, at their worst: right after a resend (A22)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

import psycopg

from etl.sandbox.queues import Queue
from etl.sandbox.trade import Trade
from tests.simulation.virtual import VirtualClock, VirtualLoop

LONGEST_GHOST_S = 110.0
SOON_S = 4.0
KNOWN = "SELECT trade_id FROM stp.message WHERE trade_id IS NOT NULL"


class Haunted(Protocol):
    """The world in which ghosts act."""

    draw: Random
    clock: VirtualClock
    loop: VirtualLoop
    admin: psycopg.Connection[tuple[str]]

    def note(self, what: str) -> None:
        """Write a line of the trace."""
        ...


class Ghosts:
    """Executes each at its hour; or, drawn, as soon as trades are in the queue again, if that is within A22.

    The order of the queue is the vendor's affair (A13): such a ghost takes first what no answer has brought us yet,
    so that nothing that we hold is missing when the others come again.
    """

    def __init__(self, world: Haunted, queue: Queue) -> None:
        self._world, self._queue = world, queue
        self.lurk = 0.5
        """The share of those that wait for a resend."""
        self._lurking: list[tuple[float, Callable[[], object]]] = []
        self._requeue = queue.requeue
        queue.requeue = self._requeued  # type: ignore[method-assign]

    def come(self, seconds: float, execute: Callable[[], object]) -> None:
        """Let a request be executed after its sender is gone."""
        world = self._world
        if world.draw.random() >= self.lurk:
            world.note(f"that request is executed in {seconds:.1f} s")
            world.loop.call_later(seconds, execute)
            return
        world.note("that request is executed right after a resend")
        lurking = world.clock.monotonic() + LONGEST_GHOST_S, execute
        self._lurking.append(lurking)
        world.loop.call_later(LONGEST_GHOST_S, self._act, lurking)

    def _requeued(self, trades: Iterable[Trade], *, after_s: float) -> int:
        again, world = list(trades), self._world
        count = self._requeue(again, after_s=after_s)
        if not {each.id for each in again} <= self._known():
            at = world.clock.monotonic() + after_s + world.draw.uniform(0, SOON_S)
            for lurking in self._lurking:
                if at < lurking[0]:
                    world.loop.call_later(at - world.clock.monotonic(), self._act, lurking)
        return count

    def _known(self) -> set[str]:
        return {each for (each,) in self._world.admin.execute(KNOWN)}

    def _act(self, lurking: tuple[float, Callable[[], object]]) -> None:
        if lurking not in self._lurking:
            return
        self._lurking.remove(lurking)
        self._queue.has_any()  # what is due now is in the queue
        known = self._known()
        first = sorted(self._queue._pending, key=lambda each: isinstance(each, Trade) and each.id in known)
        self._queue._pending = deque(first)
        self._world.note(f"a ghost acts, {len(first)} wait")
        lurking[1]()
