"""One running program of the simulation: the real application, its jobs, its leadership, its way to the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from threading import current_thread, main_thread
from typing import Any, Protocol

from sqlalchemy import Connection

from etl.app import App
from etl.config import Settings
from etl.errors import DatabaseAwayError, EtlError
from etl.jobs import Job
from etl.runtime import FeedRuntime
from etl.schedule import jobs_of
from etl.store.database import Database
from etl.store.leases import TRUSTED_FOR_S
from etl.store.unit_of_work import OpenWork, UnitOfWork, work_on
from tests.simulation.virtual import VirtualClock

STEPS = ("poll-", "heal-", "book-", "sweep-")
"""Jobs that the simulation runs; the others touch no trade."""
SERVER_ENDS_IT_AFTER_S = 4.0
TERMINATE, LOSE_COMMIT, LOSE_REPLY = "terminate", "lose_commit", "lose_reply"


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


@dataclass
class Unit:
    """A transaction of the product that is open, and what will happen to it."""

    connection: Connection
    fault: str | None
    at_statement: int
    statements: int = 0


class Fate(Protocol):
    """What decides about an instance wherever something may go wrong."""

    clock: VirtualClock
    database: Database
    settings: Settings
    locks: Locks
    units: list[Unit]

    def seam(self, name: str, *, nest: bool = True) -> None:
        """Come to a named point; the instance may be killed here, or others may act meanwhile."""
        ...

    def database_fault(self) -> tuple[str | None, int]:
        """Return what befalls the next transaction, and at which statement; raises DatabaseAwayError."""
        ...

    def strike(self, unit: Unit) -> None:
        """Terminate the server process behind a transaction."""
        ...

    def lose_reply(self) -> None:
        """Let the reply of the next commit be lost."""
        ...

    def new_id(self) -> str:
        """Return the next id."""
        ...


class Locks:
    """The advisory lock of the feed: who has it, and since when its holder is frozen."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.holder: SimulatedLease | None = None

    def free_for(self, lease: SimulatedLease) -> bool:
        """Whether nobody has it; the server takes it from a holder that was frozen for too long, or is gone."""
        held = self.holder
        if held is not None and (held.instance.dead or held.frozen_s() > SERVER_ENDS_IT_AFTER_S):
            held.lose()
        return self.holder in (None, lease)


class SimulatedLease:
    """Leads as `etl.store.leases.Lease` does, with the real epoch and fence; only the lock's connection is played."""

    def __init__(self, instance: Instance, fate: Fate, feed_id: int) -> None:
        self.instance, self._fate, self._feed_id = instance, fate, feed_id
        self._trusted_until: float | None = None
        """None while the lock is ours; else until when we still believe so."""
        self._ours = False
        self.epoch = 0

    @property
    def held(self) -> bool:
        """Whether the instance believes that it leads."""
        self.thaw()
        if self._trusted_until is not None and self._fate.clock.boottime() >= self._trusted_until:
            self._ours = False
        return self._ours

    def frozen_s(self) -> float:
        """Return for how long the process was stopped, the last time."""
        since = self.instance.frozen_at
        return 0.0 if since is None else self._fate.clock.boottime() - since

    def thaw(self) -> None:
        """Go on after a stop: the first ping tells what became of the lock."""
        if self.frozen_s() > TRUSTED_FOR_S:
            self.lose()

    def lose(self, believed_for_s: float = 0.0) -> None:
        """Lose the lock; the instance learns of it at its next ping."""
        if self._fate.locks.holder is self:
            self._fate.locks.holder = None
        if self._trusted_until is None:
            self._trusted_until = self._fate.clock.boottime() + believed_for_s

    def take(self) -> bool:
        """Try to become the leader, with a new epoch."""
        if self.held:
            return True
        self.leave()
        if not self._fate.locks.free_for(self):
            return False
        self._fate.locks.holder, self._trusted_until = self, None
        try:
            with self.instance.app.open_work() as work:
                if self._fate.locks.holder is not self:
                    raise away()  # the lock and this statement share a connection, which the server has ended
                self.epoch = work.feeds.take_over(self._feed_id, self.instance.name, self._fate.clock.now())
                work.commit()
        except EtlError:
            self.lose()
            raise
        self._ours = True
        return True

    def leave(self) -> None:
        """Give the leadership up."""
        mine = self._fate.locks.holder is self
        self._ours = False
        if not mine:
            return
        try:
            with self.instance.app.open_work() as work:
                work.feeds.leave(self._feed_id, self.epoch)
                work.commit()
        except EtlError:
            pass  # the lock goes with the connection
        self.lose()


class SimulatedApp(App):
    """The real application, on a database that others share and whose transactions meet their fate."""

    def __init__(self, instance: Instance, fate: Fate) -> None:
        super().__init__(fate.settings, fate.clock)
        self._instance, self._fate = instance, fate
        self.new_id = fate.new_id

    @cached_property
    def database(self) -> Database:
        return self._fate.database

    @cached_property
    def open_work(self) -> OpenWork:
        return fated(self._fate, work_on(self.database))

    @cached_property
    def booking_process(self) -> None:
        """Nothing of a simulation happens outside of its own time."""

    def lease_of(self, feed_id: int, _lock_key: int) -> SimulatedLease:  # type: ignore[override]
        return SimulatedLease(self._instance, self._fate, feed_id)


@dataclass(eq=False)
class Instance:
    """A process: alive until it is killed, or told to stop and done with it."""

    name: str
    fate: Fate
    fuse: int
    """At how many more seams it is killed."""
    dead: bool = False
    stopping: bool = False
    frozen_at: float | None = None
    app: SimulatedApp = field(init=False)
    jobs: dict[str, Job] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Build the program; it may be killed meanwhile, or find no database."""
        self.app = SimulatedApp(self, self.fate)
        self.jobs = {job.name: job for job in jobs_of(self.app) if job.name.startswith(STEPS)}

    @property
    def feed(self) -> FeedRuntime:
        """The one feed."""
        return self.app.feed()

    @property
    def logs_in(self) -> bool:
        """Whether one of its jobs holds the lock on its session: another one that needs it would wait for it."""
        lock: Any = self.feed.vendor._session._lock
        return bool(lock._is_owned())


def fated(fate: Fate, plain: OpenWork) -> OpenWork:
    """Return `plain` with faults, and with the seams around each transaction; other threads are left alone."""

    @contextmanager
    def open_work() -> Iterator[UnitOfWork]:
        if current_thread() is not main_thread():
            with plain() as work:
                yield work
            return
        alone = not fate.units
        fate.seam("before a transaction", nest=alone)
        fault, at_statement = fate.database_fault()
        with plain() as work:
            unit = Unit(work._connection, fault, at_statement)
            fate.units.append(unit)
            work.commit = _commit_of(fate, work, unit)  # type: ignore[method-assign]
            try:
                yield work
            finally:
                fate.units.remove(unit)
        fate.seam("after a transaction", nest=alone)

    return open_work


def _commit_of(fate: Fate, work: UnitOfWork, unit: Unit) -> Callable[[], None]:
    commit = work.commit

    def commit_with_fate() -> None:
        fate.seam("before a commit", nest=False)
        if unit.fault == LOSE_COMMIT:
            fate.strike(unit)
        if unit.fault == LOSE_REPLY:
            fate.lose_reply()
        commit()
        fate.seam("after a commit", nest=False)

    return commit_with_fate


def away() -> DatabaseAwayError:
    """Return what the product sees of a database that is not there."""
    return DatabaseAwayError("the database cannot be reached: simulated")
