"""One seed, one world: trades, faults, kills, take-overs, a database that fails, and time, all drawn from it.

The real application and its jobs run on a real Postgres; the real client speaks to the real sandbox in the same
process. Everything happens on one thread: where an instance would wait or could be interrupted, the seed decides
whether other jobs, or another instance, act meanwhile.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from sqlalchemy import event, text
from starlette.applications import Starlette

from etl.config import Settings
from etl.config.settings import load
from etl.controls.manual import ManualRequest, open_by_hand
from etl.domain.window import Window
from etl.errors import EtlError
from etl.sandbox.control import Control
from etl.sandbox.faults import Fault, fault_of
from etl.sandbox.options import Options, User
from etl.sandbox.vendor import Vendor
from etl.sandbox.world import World
from etl.store.database import Database
from tests.simulation.crash import Trouble
from tests.simulation.ghosts import LONGEST_GHOST_S, Ghosts
from tests.simulation.instances import (
    LOSE_COMMIT,
    LOSE_REPLY,
    TERMINATE,
    Instance,
    KilledError,
    Locks,
    Unit,
    away,
)
from tests.simulation.memory_wire import Network
from tests.simulation.oracle import Findings, compare
from tests.simulation.virtual import VendorClock, VirtualClock, VirtualLoop
from tests.simulation.worlds import asker

STEPS = 90
DEEPEST = 3
GHOST_S = 120.0
HEAL_WITHIN_TURNS = 1500
BRISK_TURNS = 300
SETTINGS: Mapping[str, Any] = {
    "ghost_s": GHOST_S, "eligible_after_s": 10, "resend_budget_per_day": 100_000, "error_pause_max_s": 60,
}  # fmt: skip
FIRST_DAYS = ("2024-03-08", "2024-03-10", "2024-06-12", "2024-10-31", "2024-11-01", "2024-11-03", "2024-12-31")
"""Among them the changes to and from summer time in New York, a month's end, a year's end."""


@dataclass
class Played:
    """A seed that was played to its end."""

    seed: int
    findings: Findings
    counts: Counter[str]
    virtual_s: float
    trace: list[str] = field(repr=False, default_factory=list)


class Simulation:
    """The world of one seed."""

    def __init__(self, seed: int, database: Database, folder: Path) -> None:
        self.seed, self.database = seed, database
        self.draw = Random(f"simulation/{seed}")
        day = datetime.fromisoformat(self.draw.choice(FIRST_DAYS)).replace(tzinfo=UTC)
        hour = self.draw.choice((0.05, 9.0, 20.9, 21.9, 23.9, self.draw.uniform(0, 24)))
        self.clock = VirtualClock(day + timedelta(hours=hour))
        self.clock.idle = self.let_pass
        self.loop = VirtualLoop(self.clock)
        self.locks = Locks(self.clock)
        self.units: list[Unit] = []
        self.stack: list[Instance] = []
        self.instances: list[Instance] = []
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.unexpected: list[str] = []
        self.calm = self._healed = self._haunted = False
        self._plan_at_the_end: list[Fault] = []
        self._ids = Random(f"ids/{seed}")
        self._loses_reply = False
        self._database_away_until = 0.0
        self._trouble = Trouble(Random(f"trouble/{seed}"))
        self._two = self.draw.random() < 0.6
        self._rate = self.draw.choice((0.1, 0.3, 0.6))
        self._names = 0
        user = User()
        self.world = World(self._options(user), VendorClock(self.clock))
        vendor = Vendor(self.world, self._refuse)
        vendor.later = self._later  # type: ignore[method-assign]
        self.ghosts = Ghosts(self, self.world.queue(user))
        self.control = Control(self.world, self._refuse)
        self.network = Network(Starlette(routes=vendor.routes()), self.loop, self)
        self.settings = self._settings(folder, user)
        self.admin = psycopg.connect(psycopg_url(database), autocommit=True)

    def _options(self, user: User) -> Options:
        draw = self.draw
        variants = {
            "empty": draw.choice(("array", "204", "no_body", "chunked")), "order": draw.choice(("executed", "random")),
            "eligible_after_s": draw.choice((0.0, 3.0, 9.0)), "date_offset_s": draw.choice((0.0, 0.0, 40.0, 7200.0)),
            "resend_404": draw.choice(("never", "when_empty")), "oversize": draw.choice((0, 0, 3)),
            "token_life_s": draw.choice((20.0, 60.0, 1800.0)),
        }  # fmt: skip
        return Options(
            seed=self.seed, trades=draw.randrange(0, 80), days_back=draw.randrange(1, 6), users=(user,),
            settings={name: str(value) for name, value in variants.items()},
        )  # fmt: skip

    def _settings(self, folder: Path, user: User) -> Settings:
        draw = self.draw
        keys = {
            **SETTINGS, "base_url": "http://127.0.0.1:9", "org": user.org, "user": user.name,
            "password": user.password, "page_size": draw.choice((2, 5, 50)),
            "history_days": draw.choice((8, 31)), "resend_days_at_once": draw.choice((1, 1, 3, 31)),
        }  # fmt: skip
        file = folder / f"{self.seed}.toml"
        feed = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        sweeps = f'[reconciliation]\nsweep = "{draw.choice(("daily", "off"))}"\n'
        file.write_text(f'[database]\nurl = "{psycopg_url(self.database)}"\n[feeds.main]\n{feed}{sweeps}')
        return load(file, {})

    # What may happen at a seam

    def seam(self, name: str, *, nest: bool = True) -> None:
        """Come to a named point: be killed here, be stopped for a while, or let others act meanwhile."""
        if not self.stack:
            return
        me = self.stack[-1]
        self._die_with(me)
        if self.calm:
            return
        me.fuse -= 1
        if me.fuse <= 0:
            self.kill(me, name)
        if nest and not self.units and len(self.stack) < DEEPEST and self.draw.random() < 0.04 * (1 + self._rate):
            self._meanwhile(me, name)
            self._die_with(me)

    def kill(self, me: Instance, name: str) -> None:
        """End an instance as SIGKILL does, wherever it is."""
        me.dead = True
        self.counts["kills"] += 1
        self.note(f"{me.name} is killed {name}, in {'/'.join(me.running) or 'start'}")
        raise KilledError

    def _die_with(self, me: Instance) -> None:
        if me.dead:
            raise KilledError

    def _meanwhile(self, me: Instance, name: str) -> None:
        """Let others act: other jobs of the same instance too, unless its whole process stands still."""
        stopped = self.draw.random() < 0.4
        self.note(f"{me.name} {'is stopped' if stopped else 'is interrupted'} {name}")
        self.counts["stopped" if stopped else "interrupted"] += 1
        if stopped:
            me.frozen_at = self.clock.boottime()
        steps = self.draw.randrange(0, 4)
        for _ in range(steps):
            self.let_pass(self.draw.choice((0.0, 0.5, 3.0, 20.0)))
            self.step()
        if stopped and me.frozen_at is not None:
            if (holder := self.locks.holder) is not None and holder.instance is me:
                holder.thaw()
            me.frozen_at = None

    # The network's fate

    def connecting(self) -> None:
        self.seam("as it connects to the vendor")

    def sent(self, deliver: Callable[[], None]) -> None:
        """Deliver a request, or let its sender die: then the vendor may still execute it later (A22)."""
        try:
            self.seam("with its request on the way", nest=False)
        except KilledError:
            if self.draw.random() < 0.7:
                seconds = self.draw.uniform(0, LONGEST_GHOST_S)
                self.counts["ghosts of the dead"] += 1
                self.ghosts.come(seconds, deliver)
            raise
        deliver()

    def waiting(self, seconds: float) -> None:
        """Let time pass for somebody who waits for an answer, and others act meanwhile."""
        until_at = self.clock.monotonic() + seconds
        self.seam("as it waits for an answer")
        self.let_pass(max(0.0, until_at - self.clock.monotonic()))

    def answered(self) -> None:
        self.seam("with an answer arriving", nest=False)

    async def _refuse(self, seconds: float) -> None:
        await self.network.refuse(seconds)

    def _later(self, seconds: float, execute: Callable[[], object]) -> None:
        self.counts["ghosts"] += 1
        self.ghosts.come(seconds, execute)

    # The database's fate

    def database_fault(self) -> tuple[str | None, int]:
        if self.calm:
            return None, 0
        if self.clock.monotonic() < self._database_away_until:
            raise away()
        if self.draw.random() >= 0.006 * (1 + 4 * self._rate):
            return None, 0
        kind = self.draw.choice((TERMINATE, TERMINATE, LOSE_COMMIT, LOSE_COMMIT, LOSE_REPLY, LOSE_REPLY, "away"))
        self.counts[f"database: {kind}"] += 1
        self.note(f"database: {kind}")
        if kind == "away":
            self._database_away_until = self.clock.monotonic() + self.draw.choice((1.0, 10.0, 90.0))
            raise away()
        return kind, self.draw.randrange(1, 7)

    def strike(self, unit: Unit) -> None:
        pid = unit.connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
        self.admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    def lose_reply(self) -> None:
        self._loses_reply = True

    def before_statement(self, connection: Any, *_: Any) -> None:
        """See every statement of the product before it is sent."""
        if not self.units or connection is not self.units[-1].connection:
            return
        unit = self.units[-1]
        unit.statements += 1
        self.seam("inside a transaction", nest=False)
        if unit.fault == TERMINATE and unit.statements == unit.at_statement:
            self.strike(unit)

    def after_commit(self) -> bool:
        """Return whether the reply of this commit is lost."""
        lost, self._loses_reply = self._loses_reply, False
        return lost

    def new_id(self) -> str:
        return f"{self._ids.getrandbits(128):032x}"

    # The course of things

    def note(self, what: str) -> None:
        """Write a line of the trace."""
        self.trace.append(f"{self.clock.passed_s:12.3f} {'  ' * len(self.stack)}{what}")

    def let_pass(self, seconds: float) -> None:
        """Let virtual time pass, and the vendor's timers act."""
        self.loop.let_pass(seconds)

    def play(self) -> Played:
        """Play the seed to its end, and ask the oracle."""
        self.note(f"starts at {self.clock.now().isoformat()}, {'two instances' if self._two else 'one instance'}")
        for _ in range(STEPS):
            self._event()
            self.let_pass(self._pause_s())
            self.step()
        self._heal()
        if self._healed and self.draw.random() < 0.5:
            self._lose_a_page_and_be_haunted()
            self._heal()
        return self._judge()

    def _pause_s(self) -> float:
        draw = self.draw
        kind = draw.random()
        if kind < 0.75:
            return draw.uniform(0, 3)
        if kind < 0.95:
            return draw.uniform(3, 40)
        if kind < 0.99:
            return draw.uniform(40, 400)
        self.counts["long waits"] += 1
        return draw.uniform(3600, 26 * 3600)

    def step(self) -> None:
        """Run one job of one instance; whatever goes wrong in it stays there."""
        for _ in range(1 + self._two - len(self._alive())):
            self._start()
        able = [
            (each, name)
            for each in self._alive()
            if each.frozen_at is None
            for name in each.jobs
            if name not in each.running and (name.startswith("book-") or not each.logs_in)
        ]
        if not able:
            return
        me, name = self.draw.choice(able)
        self._run(me, name, me.jobs[name].run)

    def _run(self, me: Instance, name: str, act: Callable[[], object]) -> None:
        self.stack.append(me)
        me.running.append(name)
        try:
            act()
        except EtlError as error:
            self.note(f"{me.name} {name}: {type(error).__name__}")
        except KilledError:
            if not me.dead:
                raise
        finally:
            me.running.remove(name)
            self.stack.pop()
            if me.dead and me not in self.stack:
                self._bury(me)
            elif me.stopping and me not in self.stack and name != "stop":
                self._run(me, "stop", lambda: self._end(me))

    def _alive(self) -> list[Instance]:
        return [each for each in self.instances if not each.dead]

    def _start(self) -> None:
        self._names += 1
        fuse = self.draw.choice((20, 100, 300, 1000))
        me = Instance(f"instance {self._names}", self, self.draw.randrange(1, fuse))
        self.note(f"{me.name} starts")
        self._run(me, "start", me.start)
        if not me.dead and me.jobs:
            self.instances.append(me)

    def _end(self, me: Instance) -> None:
        """End in order, as the daemon does on SIGTERM."""
        me.feed.booker.book()
        me.feed.close()
        me.dead = True
        self.counts["orderly stops"] += 1
        self.note(f"{me.name} has stopped")

    def _bury(self, me: Instance) -> None:
        if me in self.instances:
            self.instances.remove(me)
        if self.locks.holder is not None:
            self.locks.free_for(self.locks.holder)

    def _event(self) -> None:
        """Let something happen outside of the program."""
        draw, world = self.draw, self.world
        if draw.random() < 0.25:
            count = draw.randrange(1, 8)
            world.execute("pfOrg", count)
            self.note(f"{count} trades are done")
        if draw.random() < 0.25 * self._rate:
            planned = [self._unhurried(each) for each in self._trouble.next()]
            world.plan.add([fault_of(each) for each in planned])
            self.note(f"planned: {[(each['endpoint'], each['fault'], each['nth']) for each in planned]}")
        if draw.random() < 0.1 * self._rate:
            delay_s, close = round(draw.uniform(0.1, LONGEST_GHOST_S), 3), draw.random() < 0.7
            world.plan.add([fault_of({"fault": "ghost", "endpoint": "messages", "delay_s": delay_s, "close": close})])
            self.note(f"planned: a ghost of {delay_s} s")
        alive = self._alive()
        if draw.random() < 0.03 and (holder := self.locks.holder) is not None:
            holder.lose(believed_for_s=draw.uniform(0, 1))
            self.counts["locks lost"] += 1
            self.note(f"{holder.instance.name} loses its lock")
        if draw.random() < 0.01 and alive:
            chosen = draw.choice(alive)
            chosen.app.stop.set()
            chosen.stopping = True
            self.note(f"{chosen.name} is told to stop")
        if draw.random() < 0.02 and alive:
            self._run(draw.choice(alive), "resend by hand", self._ask_by_hand)

    def _unhurried(self, fault: dict[str, Any]) -> dict[str, Any]:
        """Return the fault at the pace of real settings."""
        if "delay_s" not in fault:
            return fault
        longest = {"ghost": LONGEST_GHOST_S, "headers_then_silence": 3600.0, "refuse": 60.0}
        return fault | {"delay_s": round(self.draw.uniform(0.1, longest.get(fault["fault"], 40.0)), 3)}

    def _ask_by_hand(self) -> None:
        today = self.clock.now().date()
        first = today - timedelta(days=self.draw.randrange(0, 4))
        window = Window.of(first, first + timedelta(days=self.draw.randrange(0, 2)))
        app = self.stack[-1].app
        with app.open_work() as work:
            open_by_hand(work, app.feed().feed_id, ManualRequest("main", window, "ops", "simulated"), self.clock.now())
            work.commit()
        self.counts["resends by hand"] += 1
        self.note(f"resend by hand for {window.start} to {window.last}")

    # The end

    def _heal(self) -> None:
        self.calm = True
        self.world.plan.clear()
        self.world.plan.add(self._plan_at_the_end)
        self._database_away_until = 0.0
        self.note("from here on nothing goes wrong")
        for number in range(HEAL_WITHIN_TURNS):
            longest = 25 if number < BRISK_TURNS else 600  # then what is left waits for an hour of the day
            if self._haunted:
                longest = 3  # or what the ghost may do is over before the resend is asked
            self.let_pass(self.draw.uniform(1, longest))
            self.step()
            if number % 3 == 0 and self._is_at_rest():
                self.counts["turns to heal"] += number
                self._healed = True
                return
        self._healed = False
        self.note("is not healed")

    def _lose_a_page_and_be_haunted(self) -> None:
        """Let a page be lost, and the request after it be executed late; nothing else can make the resend fail."""
        self.world.execute("pfOrg", self.settings.feeds["main"].page_size)
        lost = {"fault": "close_after", "endpoint": "messages", "non_empty": True}
        ghost = {"fault": "ghost", "endpoint": "messages", "close": True}
        self._plan_at_the_end = [fault_of(lost), fault_of(ghost)]
        self.ghosts.lurk, self._haunted = 1.0, True
        self.counts["ghosts at the end"] += 1
        self.note("a page and the request after it will be lost")

    def _is_at_rest(self) -> bool:
        question = """
            SELECT NOT EXISTS (SELECT FROM stp.gap
                    WHERE state IN ('open', 'waiting', 'resending') AND cause NOT IN ('sweep', 'history_sweep'))
                AND NOT EXISTS (SELECT FROM stp.unbooked) AND NOT EXISTS (SELECT FROM stp.poll
                    WHERE outcome = 'in_doubt' AND gap_id IS NULL)
                AND coalesce((SELECT bool_and(outcome IS NOT NULL AND last_empty_at > coalesce(
                    (SELECT max(doubted_at) FROM stp.gap), '-infinity')) FROM stp.current_poll), false)
        """
        if any(self.world.queue(user).ready() for user in self.world.options.users):
            return False
        with self.database.connect() as connection:
            return bool(connection.execute(text(question)).scalar_one())

    def _judge(self) -> Played:
        records = self.world.records
        handed_out = [json.loads(line) for line in records.hand_out_lines(0)]
        trades = [json.loads(line) for line in self.control.trade_lines()]
        with self.database.connect() as connection:
            findings = compare(handed_out, trades, asker(connection))
        findings.wrong = [each for each in findings.wrong if not self._is_of_a_sweep(each)]
        self.counts["faults"] = sum(1 for each in records.requests if each.fault)
        self.counts["requests"] = records.asked
        self.counts["handed out"] = records.handed_out
        findings.wrong += [f"the vendor failed: {each!r}" for each in self.loop.failures]
        findings.wrong += [f"an error that nobody expects: {each}" for each in self.unexpected]
        return Played(self.seed, findings, self.counts, self.clock.passed_s, self.trace)

    def _is_of_a_sweep(self, found: str) -> bool:
        """Whether a gap or a resend is unfinished because a sweep never ends: each day brings another one."""
        with self.database.connect() as connection:
            gaps = "SELECT id FROM stp.gap WHERE cause IN ('sweep', 'history_sweep') AND state <> 'escalated'"
            known = [f"gap {number} is " for number in connection.execute(text(gaps)).scalars()]
            resends = f"SELECT id FROM stp.resend WHERE gap_id IN ({gaps})"
            known += [f"resend {number} is " for number in connection.execute(text(resends)).scalars()]
        return found.startswith(tuple(known))

    def close(self) -> None:
        """Leave nothing behind."""
        self.calm = True
        for each in list(self.network.open):
            each.close()
        self.loop.end()
        self.network.close()
        self.admin.close()


def psycopg_url(database: Database) -> str:
    """Return the address as libpq reads it."""
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def watched(database: Database, simulation: Simulation) -> Iterator[None]:
    """Let a simulation see the statements and the commits of a database."""
    dialect = database.engine.dialect
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        commit(connection)
        if simulation.after_commit():
            connection.dbapi_connection.close() if hasattr(connection, "dbapi_connection") else connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = do_commit  # type: ignore[method-assign]
    event.listen(database.engine, "before_cursor_execute", simulation.before_statement)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", simulation.before_statement)
        dialect.do_commit = commit  # type: ignore[method-assign]
