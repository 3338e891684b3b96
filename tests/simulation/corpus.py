"""Seeded worlds with known errors at the vendor and on the way: what reconciliation must find, and must not invent.

python -m tests.simulation.corpus --runs 300 --seed 1     (or: make corpus RUNS=300 SEED=1)
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import structlog

from etl.sandbox.days import NEW_YORK, trade_day
from etl.sandbox.options import Options, User
from etl.sandbox.positions import Ledger, PositionError, Scope
from etl.sandbox.process import SandboxProcess
from etl.sandbox.trade import Trade
from etl.sandbox.variants import Variants
from etl.store.database import Database
from tests.databases import Server, embedded, migrated, rows
from tests.reconciling import NOON, World

A_CHUNK = 20  # worlds that share a sandbox and a database server
MOST_ROUNDS = 16  # two lost trades, each asked for by one, seven and more days, take ten
DAYS = ("2030-07-15", "2030-07-16", "2030-07-17", "2030-07-18", "2030-07-22", "2030-07-23")
PAIRS = ("EUR/USD", "GBP/USD", "USD/CHF", "AUD/USD", "USD/JPY")
STATUSES = ("cancel", "amend", "roll", "allocate")
COUNTED = ("break_event", "gap WHERE state <> 'healed'", "trade_version")
NOISE: tuple[Mapping[str, Any], ...] = (
    {}, {}, {}, {"positions_shape": "object"}, {"positions_shape": "children"},
    {"positions_shape": "paged", "positions_page": 5}, {"positions_sign": "side"},
    {"positions_sign": "side", "positions_side": "long_short"}, {"positions_flat": "left_out"},
    {"positions_ndf": "until_fixing"}, {"positions_term": "average"}, {"fills": "verified"}, {"fills": "404"},
    {"fills": "404", "trade_query": "404"}, {"order": "random"}, {"we_are": "mixed"},
)  # fmt: skip
CALLS = ("500", "404", "object", "html", "null", "cut_body", "close_before", "429")


@dataclass(frozen=True)
class Injected:
    """One error: what was done, and to which trade or position."""

    kind: str
    trade_id: str | None = None
    key: tuple[str, date] | None = None
    traces: bool = True
    """Whether it still shows when all is done; what heals leaves nothing to be found."""


@dataclass
class Outcome:
    """What came of one world."""

    seed: int
    kinds: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Play:
    """One world from its seed."""

    def __init__(self, seed: int, world: World, kinds: Sequence[str] | None = None) -> None:
        self.draw, self.world, self.outcome = random.Random(f"{seed}/corpus"), world, Outcome(seed)
        self.kinds = kinds
        self.errors: list[PositionError] = []
        self.injected: list[Injected] = []
        self.keys = self.draw.sample([(pair, day) for pair in PAIRS for day in DAYS], 6)
        self.noise = self.draw.choice(NOISE) if kinds is None else {}

    def run(self) -> Outcome:
        """Open, let errors happen, do what the daemon does until nothing changes, and judge."""
        world = self.world
        world.control.variant(**self.noise)
        for symbol, day in self.keys:
            for _ in range(self.draw.randrange(1, 4)):
                self.execute(symbol, day)
        world.drained()
        world.open()
        drawn = [self.draw.choice(sorted(INJECTIONS)) for _ in range(self.draw.randrange(0, 4))]
        for kind, key in zip(drawn if self.kinds is None else self.kinds, self.keys, strict=False):
            self._inject(kind, key)
        before = None
        for _ in range(MOST_ROUNDS):
            waiting = world.control.state()["planned"]
            world.heal()
            self.reconcile()
            after = self._facts()
            if after == before and not waiting:
                break
            before = after
        else:
            self.outcome.faults.append("does not converge")
        self._judge()
        return self.outcome

    def execute(self, symbol: str, day: str, **more: Any) -> str:
        amount = self.draw.randrange(1, 10**7)
        return self.world.execute(symbol=symbol, valueDate=day, tradeType="Outright", dealtAmount=amount, **more)

    def reconcile(self) -> None:
        """Do what a run of the daemon's job does."""
        internal = "we_are" in self.noise  # an internal trade moves nothing of the organisation, but of its entities
        outcomes = self.world.positions(entities=internal or self.outcome.seed % 5 == 0)
        self.world.controls.investigate(outcomes)
        self.world.fills()
        self.world.controls.adopt()

    def _facts(self) -> object:
        events = "SELECT count(*) FROM stp.break_event", "SELECT count(*) FROM stp.gap WHERE state <> 'healed'"
        counted = [
            rows(self.world.database, each)[0][0] for each in (*events, "SELECT count(*) FROM stp.trade_version")
        ]
        return counted, self.world.breaks("break_id, state, explained_by")

    def _inject(self, kind: str, key: tuple[str, str]) -> None:
        self.outcome.kinds.append(kind)
        made = INJECTIONS[kind](self, kind, key)
        self.injected.append(made)

    def booked(self, key: tuple[str, str]) -> str:
        """Return a trade of a position."""
        statement = (
            "SELECT trade_id FROM reporting.blotter WHERE symbol = :symbol AND near_value_date = CAST(:day AS date)"
            " AND trade_type = 'Outright' AND live ORDER BY trade_id"
        )
        found = rows(self.world.database, statement, symbol=key[0], day=key[1])
        return str(self.draw.choice(found)[0])

    def turn(self, hour: int, minute: int) -> None:
        """Let it be this time of day in New York, here and at the vendor."""
        now = self.world.clock.now()
        local = now.astimezone(NEW_YORK).replace(hour=hour, minute=minute)
        self.world.clock.ahead += local - now
        self.world.control.today(now=self.world.clock.now().isoformat())

    # What is true, by the sandbox's own code and its own log

    def _differing(self) -> set[tuple[str, date]]:
        """Return the positions of our organisation that differ, netted by the vendor's code from its trades."""
        org, today = self.world.user.org, trade_day(self.world.clock.now())
        trades = [
            Trade(org, each["fields"], NOON, status=each["status"])
            for each in self.world.control.trades()
            if each["org"] == org
        ]
        ledger = Ledger(tuple(trades), today, Variants(), tuple(self.errors))
        theirs = {key: net.base for key, net in ledger.nets(Scope(org, "ORG", org)).items()}
        for error in self.errors:
            key = error.symbol, error.value_date
            theirs[key] = theirs.get(key, Decimal(0)) + error.base
        ours = {
            (symbol, day): base
            for symbol, day, base in rows(
                self.world.database,
                "SELECT symbol, value_date, sum(base_amount) FROM reporting.position WHERE organisation = :org"
                " AND value_date > CAST(:today AS date) GROUP BY 1, 2",
                org=org, today=today.isoformat(),
            )
        }  # fmt: skip
        zero = Decimal(0)
        return {key for key in theirs.keys() | ours.keys() if theirs.get(key, zero) != ours.get(key, zero)}

    def _judge(self) -> None:
        """Hold what is open against what is true: nothing more, nothing less."""
        columns = "kind, key, state, trade_id, symbol, value_date, explained_by"
        all_breaks = rows(
            self.world.database,
            "SELECT kind, key, state, trade_id, symbol, value_date, explained_by FROM stp.recon_break ORDER BY id",
        )
        named = [dict(zip(columns.split(", "), each, strict=True)) for each in all_breaks]
        unfinished = [each for each in named if each["state"] in ("open", "investigating", "accepted")]
        shown = {key for each in unfinished for key in keys_of(each) if " LE " not in f" {each['key']}"}
        differing = self._differing()
        faults = self.outcome.faults
        faults += [f"false clear: {key} differs, and no break says so" for key in sorted(differing - shown)]
        faults += [f"false break: {key} agrees" for key in sorted(shown - differing)]
        touched = {each.trade_id for each in self.injected if each.trade_id}
        for each in unfinished:
            if each["trade_id"] is not None and each["trade_id"] not in touched:
                faults.append(f"false break: {each['kind']} {each['trade_id']}, to which nothing was done")
            if each["kind"] == "query_failed":
                faults.append("a question that is answered again has an open break")
        for error in self.injected:
            self._look_for(error, named)

    def _look_for(self, error: Injected, named: list[dict[str, Any]]) -> None:
        by_trade = [each for each in named if error.trade_id and each["trade_id"] == error.trade_id]
        by_key = [each for each in named if error.key is not None and error.key in keys_of(each)]
        calls = [each for each in named if error.kind == "call" and each["kind"] == "query_failed"]
        if not error.traces or by_trade or by_key or calls:
            self.outcome.found.append(error.kind)
        else:
            self.outcome.faults.append(f"not found: {error}")
        told = [each for each in by_key if error.trade_id and error.trade_id in (each["explained_by"] or "")]
        if by_trade or told or calls or not error.traces:
            self.outcome.explained.append(error.kind)


def keys_of(found: Mapping[str, Any]) -> set[tuple[str, date]]:
    """Return the positions that a break is about; a shift is about two."""
    if found["kind"] not in ("position", "value_date_shift"):
        return set()
    days = str(found["key"]).split(f" {found['symbol']} ")[1].split()
    return {(found["symbol"], date.fromisoformat(day)) for day in days}


def ended(play: Play, kind: str, key: tuple[str, str]) -> Injected:
    """Cancel, amend, roll or allocate a trade; nothing announces it, and its replacements come through the queue."""
    trade_id = play.booked(key)
    getattr(play.world.control, kind)(trade_id)
    return Injected(kind, trade_id, (key[0], date.fromisoformat(key[1])))


def never_handed_out(play: Play, kind: str, key: tuple[str, str]) -> Injected:
    """Let a trade be done that never comes: a fill of a known order, or of one that nobody knows."""
    more = {}
    if kind == "hidden_fill":
        statement = "SELECT order_id FROM reporting.trade WHERE trade_id = :id"
        more["orderId"] = rows(play.world.database, statement, id=play.booked(key))[0][0]
    trade_id = play.execute(*key, **more)
    play.world.control.hide(trade_id)
    return Injected(kind, trade_id, (key[0], date.fromisoformat(key[1])))


def lost_page(play: Play, kind: str, key: tuple[str, str]) -> Injected:
    """Lose the page that carries a trade; it is asked for again."""
    play.world.control.plan(
        {"fault": "close_after", "endpoint": "messages", "user": play.world.user.name, "non_empty": "true"}
    )
    trade_id = play.execute(*key)
    for _ in range(20):
        if play.world.drained() is not None:
            break
        play.world.clock.wait(play.world.app.stop, 0.05)
    return Injected(kind, trade_id, traces=False)


def other_content(play: Play, kind: str, key: tuple[str, str]) -> Injected:
    """Change a trade in silence; a second delivery tells the new content."""
    trade_id = play.booked(key)
    play.world.control.mutate(trade_id, dealtAmount=str(play.draw.randrange(1, 10**7)))
    return Injected(kind, trade_id, (key[0], date.fromisoformat(key[1])))


def wrong_figure(play: Play, kind: str, key: tuple[str, str]) -> Injected:
    """Let the vendor err about a position."""
    org, base = play.world.user.org, Decimal(play.draw.choice((-1, 1)) * play.draw.randrange(1, 10**9)) / 100
    play.world.control.position_error(*key, base=base, level="ORG", value=org)
    day = date.fromisoformat(key[1])
    play.errors.append(PositionError(key[0], day, base, level="ORG", value=org))
    return Injected(kind, key=(key[0], day))


def failing_call(play: Play, kind: str, _key: tuple[str, str]) -> Injected:
    """Let a question about positions fail once."""
    fault = play.draw.choice(CALLS)
    play.world.control.plan({"fault": fault, "endpoint": "positions", "user": play.world.user.name})
    return Injected(kind)


def between(play: Play, kind: str, _key: tuple[str, str]) -> Injected:
    """Let trades be done between our drain and the vendor's answer."""
    play.world.control.plan(
        {"fault": "execute", "endpoint": "positions", "user": play.world.user.name, "times": 2}
    )  # fmt: skip
    return Injected(kind, traces=False)


def cut(play: Play, kind: str, _key: tuple[str, str]) -> Injected:
    """Let the business day turn: what is compared at the turn says nothing, what is compared after it, all."""
    play.turn(17, 5)
    play.world.drained()
    play.reconcile()
    play.turn(18, 0)
    return Injected(kind, traces=False)


INJECTIONS: Mapping[str, Callable[[Play, str, tuple[str, str]], Injected]] = {
    **dict.fromkeys(STATUSES, ended), "hidden_fill": never_handed_out, "hidden": never_handed_out,
    "lost_page": lost_page, "other_content": other_content, "wrong_figure": wrong_figure, "call": failing_call,
    "between": between, "cut": cut,
}  # fmt: skip


def played(server: Server, seeds: Sequence[int], kinds: Sequence[str] | None = None) -> Iterator[Outcome]:
    """Play these seeds, each with an organisation and a database of its own, and with these errors where given."""
    users = tuple(User(f"user{seed}", f"secret {seed}", f"org{seed}") for seed in seeds)
    options = Options(trades=12, start_time=datetime.combine(NOON, NOON.timetz()).astimezone(UTC), users=users)
    with SandboxProcess(options) as sandbox:
        for seed, user in zip(seeds, users, strict=True):
            with server.database() as url:
                yield outcome_of(seed, sandbox, user, url, kinds)
            sandbox.control.clear_faults()
            sandbox.control.variant(**asdict(Variants()))
            sandbox.control.post("position-error", {"clear": True})


def outcome_of(
    seed: int, sandbox: SandboxProcess, user: User, url: str, kinds: Sequence[str] | None
) -> Outcome:  # fmt: skip
    """Play one seed."""
    database = Database(url)
    sandbox.control.today(now=NOON.isoformat())
    with tempfile.TemporaryDirectory() as place:
        world = World(sandbox, user, database, Path(place), feed=f'own_orgs = ["{user.org}"]')
        try:
            return Play(seed, world, kinds).run()
        except Exception:  # noqa: BLE001  a seed that breaks the play is a finding as well
            return Outcome(seed, faults=[traceback.format_exc()])
        finally:
            world.close()
            database.close()


def chunk(seeds: list[int]) -> list[Outcome]:
    """Play these seeds on a database server of their own."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
    with embedded() as own, migrated(own.url) as server:
        return list(played(server, seeds))


def shares(outcomes: list[Outcome]) -> str:
    """Return how many errors of each kind were injected, found and explained, as a table."""
    counted = [
        Counter(name for each in outcomes for name in getattr(each, what)) for what in ("kinds", "found", "explained")
    ]
    lines = [f"{'error':<16}{'injected':>9}{'found':>7}{'explained':>11}"]
    lines += [
        f"{kind:<16}{counted[0][kind]:>9}{counted[1][kind]:>7}{counted[2][kind]:>11}" for kind in sorted(INJECTIONS)
    ]
    injected, found, explained = (each.total() for each in counted)
    share = f"{100 * explained / injected:.1f} % explained" if injected else ""
    return "\n".join([*lines, f"{'all':<16}{injected:>9}{found:>7}{explained:>11}   {share}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    seeds = list(range(given.seed, given.seed + given.runs))
    chunks = [seeds[start : start + A_CHUNK] for start in range(0, len(seeds), A_CHUNK)]
    started, outcomes = time.monotonic(), list[Outcome]()
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        for done in pool.map(chunk, chunks):
            outcomes += done
            for each in done:
                for fault in each.faults:
                    sys.stdout.write(f"seed {each.seed} {each.kinds}: {fault}\n")
            sys.stdout.flush()
    bad = sum(bool(each.faults) for each in outcomes)
    sys.stdout.write(
        f"{shares(outcomes)}\n{len(outcomes)} worlds, {bad} with faults, {time.monotonic() - started:.0f} s\n"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
