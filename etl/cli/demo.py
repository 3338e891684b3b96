"""The main job with nothing else installed: embedded Postgres, the sandbox as vendor, and a proof at the end."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from etl.app import App
from etl.cli.demo_days import MORNING, Days, MovedClock, Told, first_day
from etl.cli.output import remark, show, show_card
from etl.cli.progress import while_booking
from etl.cli.proof import Ask, Proof, prove
from etl.clock import SystemClock
from etl.config import load
from etl.domain.words import counted
from etl.errors import OperatorError
from etl.sandbox.faults import fault_of
from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store import schema
from etl.store.clearing import clear
from etl.store.embedded import folder_for
from etl.vendor.feed import PollOutcome

USUAL_FOLDER = Path("var/postgres")
FEED = "demo"
FOUND_SOMETHING = 3
TOKEN_LIFE_S = 1.0
LONGEST_PAUSE_S = 0.2
MOST_DRAINS = 50
SHOWN_DIFFERENCES = 20
SETTINGS = """\
# Written by `stp-etl demo`, for a look at what it left behind; the vendor of that run is gone.
[database]
data_dir = {data_dir}

[feeds.{feed}]
base_url = {url}
org = {org}
user = {user}
password = {password}
page_size = {page_size}
error_pause_min_s = 0.1
error_pause_max_s = {pause}
ghost_s = 0.2
eligible_after_s = 0
resend_days_at_once = 31

[booking]
own_process = false  # it would not know the time of the demo

[reconciliation]
confirm_after_s = 0.2
call_spacing_s = 0
calls_per_run = 50
"""

cli = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    trades: int
    seed: int
    page_size: int
    data_dir: Path
    faults: tuple[str, ...]


@dataclass
class Pulled:
    """What the drains came to."""

    pages: int = 0
    seconds: float = 0.0
    proven_empty: bool = False
    doubts: list[str] = field(default_factory=list)


def known_faults(names: list[str] | None) -> list[str]:
    """Return the names; raise BadParameter for one that the sandbox does not know."""
    try:
        return [fault_of({"fault": name}).name for name in names or ()]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@cli.command("demo", epilog="Example: stp-etl demo")
def demo(
    trades: Annotated[int, typer.Option(min=20, help="Trades that wait in the vendor's queue.")] = 2500,
    seed: Annotated[int, typer.Option(help="The same seed plays the same world.")] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=1000, help="Trades asked for at once.")] = 50,
    data_dir: Annotated[
        Path, typer.Option(help="Folder of the database; what an earlier demo left there is dropped.")
    ] = USUAL_FOLDER,
    fault: Annotated[
        list[str] | None,
        typer.Option(callback=known_faults, help="A page meets this fault, such as close_after; may be repeated."),
    ] = None,
) -> None:
    """Pull, land and book the trades of a sandbox vendor, and prove that the book equals what it handed out.

    Needs no server, container or account: Postgres and the vendor are started here, and stopped at the end. The
    vendor's session expires in mid-drain. Then two trade days are closed and certified: one without trouble, one with
    lost pages, a cancelled trade and a wrong figure at the vendor. Exits 0 only when the proof holds, nothing is in
    doubt, the first day is COMPLETE, and the second INCOMPLETE for exactly its two reasons; else 3.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops Postgres and the sandbox, as Ctrl-C does
    plan = Plan(trades, seed, page_size, data_dir, tuple(fault or ()))
    clock = MovedClock(datetime.combine(first_day(SystemClock()), MORNING))
    options = Options(seed=seed, trades=trades, token_life_s=TOKEN_LIFE_S, start_time=clock.now())
    with alone(folder_for(data_dir)), SandboxProcess(options) as vendor:
        remark(f"vendor: a sandbox at {vendor.url}; {trades:,} trades wait in its queue")
        plan_faults(vendor, plan)
        file = write_settings(vendor, plan)
        with App(load(file, {}), clock) as app:
            told = played(app, vendor, trades, clock)
    usual = plan.data_dir == USUAL_FOLDER
    remark(f"the database stays; query it with: {program()}{'' if usual else f' --config {relative(file)}'} db shell")
    remark(f"the commands above, and status, trades list, messages show … want: export STP_ETL_CONFIG={relative(file)}")
    for each in told.missing if told is not None else ():
        remark(f"not as it should be: {each}")
    if told is None or told.missing:
        raise typer.Exit(FOUND_SOMETHING)


def played(app: App, vendor: SandboxProcess, trades: int, clock: MovedClock) -> Told | None:
    """Pull and prove, then play the two days; None where the proof does not hold."""
    prepare_database(app)
    pulled = pull(app, trades)
    with asking(app) as ask:
        show_results(ask, vendor, pulled)
        proof = prove(vendor.control.handed_out(), ask)
        say(proof, pulled)
        if not proof.holds or not pulled.proven_empty or pulled.doubts:
            return None
        return Days(app, FEED, vendor.control, clock, ask).play(clock.now().date())


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Keep a second demo away from the same folder while the block runs."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(data_dir.with_name(f"{data_dir.name}.demo"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        lock_at_once(lock, data_dir)
        yield
    finally:
        os.close(lock)


def lock_at_once(lock: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OperatorError(f"another demo works in {data_dir}; wait for it, or name another --data-dir") from error


def plan_faults(vendor: SandboxProcess, plan: Plan) -> None:
    """Let the session end after a third of the pages, and what was asked for happen after half of them."""
    pages = -(-plan.trades // plan.page_size)
    vendor.control.plan({"fault": "token_expired", "nth": max(2, pages // 3)})
    for number, name in enumerate(plan.faults):
        vendor.control.plan({"fault": name, "nth": max(1, pages // 2) + number, "non_empty": "true"})


def write_settings(vendor: SandboxProcess, plan: Plan) -> Path:
    """Write the settings of this run beside its database, so that every other command can be tried on it."""
    values = {
        "data_dir": str(plan.data_dir.absolute()), "url": vendor.url, "org": vendor.user.org,
        "user": vendor.user.name, "password": vendor.user.password,
    }  # fmt: skip
    quoted = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    file = plan.data_dir.absolute().with_name("demo.toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SETTINGS.format(feed=FEED, page_size=plan.page_size, pause=LONGEST_PAUSE_S, **quoted), "utf-8")
    return file


def prepare_database(app: App) -> None:
    """Start Postgres with our tables, and nothing in them."""
    database = app.database
    if app.embedded is not None:
        remark(f"database: Postgres in {app.embedded.data_dir}, on a unix socket")
    if clear(database, trial_feeds=frozenset({FEED})):
        remark("database: dropped what an earlier demo had left in it")
    with database.connect() as connection:
        _, revision = schema.upgrade(connection)
    remark(f"database: migrated to {revision}")
    app.check_database()


def pull(app: App, trades: int) -> Pulled:
    """Drain until the queue is proven empty; a doubt is noted, and the rest is pulled after a pause."""
    feed = app.feed(FEED)
    pulled = Pulled()
    started = app.clock.monotonic()
    with while_booking(feed, trades):
        for _ in range(MOST_DRAINS):
            drained, _counts = feed.drain_and_book()
            pulled.pages += drained.pages
            if drained.outcome is PollOutcome.IN_DOUBT:
                pulled.doubts.append(f"{drained.cause}: {drained.detail}")
            pulled.proven_empty = drained.proven_empty
            if pulled.proven_empty:
                break
            app.clock.wait(app.stop, feed.poller.resting_s)
    pulled.seconds = app.clock.monotonic() - started
    return pulled


@contextmanager
def asking(app: App) -> Iterator[Ask]:
    """Lend a way to ask the reporting views, as any reader of them has."""
    with app.database.connect() as connection:
        yield lambda question: [dict(row) for row in connection.exec_driver_sql(question).mappings()]


def show_results(ask: Ask, vendor: SandboxProcess, pulled: Pulled) -> None:
    """Write what is in the book, and how it came there."""
    by_type = ask(
        "SELECT trade_type, count(DISTINCT trade_id) AS trades, count(*) AS legs FROM reporting.trade "
        "JOIN reporting.trade_leg USING (feed, trade_id, version) GROUP BY trade_type ORDER BY trades DESC, trade_type"
    )
    rows = [(row["trade_type"], row["trades"], row["legs"]) for row in by_type]
    trades = sum(row[1] for row in rows)
    show([*rows, ("all", trades, sum(row[2] for row in rows))], ["trade type", "trades", "legs"])
    asked = Counter(line["endpoint"] for line in vendor.control.requests())
    refused = sum(line["endpoint"] == "messages" and line["status"] == 401 for line in vendor.control.requests())
    session = f"{asked['login']} log-ins, {asked['renew']} renewals, {counted(refused, 'poll')} refused as expired"
    views = {"positions": "position", "cash ladder rows": "cash_ladder", "NDF legs to fix": "fixing"}
    sizes = {name: count(ask, view) for name, view in views.items()}
    sys.stdout.write("\n")
    show_card(
        sizes | {
            "exception items": count(ask, "exception_item"), "polls in doubt": len(pulled.doubts),
            "pages": pulled.pages, "session": session, "seconds": f"{pulled.seconds:.2f}",
            "trades/s": f"{trades / pulled.seconds:,.0f}",
        }
    )  # fmt: skip


def count(ask: Ask, view: str) -> int:
    (row,) = ask(f"SELECT count(*) AS n FROM reporting.{view}")
    return int(row["n"])


def say(proof: Proof, pulled: Pulled) -> None:
    """Write the proof, and what does not fit."""
    sys.stdout.write(f"\n{proof}\n")
    for difference in proof.differences[:SHOWN_DIFFERENCES]:
        sys.stdout.write(f"  {difference}\n")
    if (more := len(proof.differences) - SHOWN_DIFFERENCES) > 0:
        sys.stdout.write(f"  and {more:,} more\n")
    for doubt in pulled.doubts:
        remark(f"in doubt: a page was asked for, and what the vendor handed out is not known: {doubt}")
    if not pulled.proven_empty:
        remark("in doubt: the queue was not proven empty, so trades may be left in it")


def program() -> str:
    """Return how this program was called, if that is not simply by its name."""
    called = Path(sys.argv[0])
    return str(relative(called)) if called.name == "stp-etl" and shutil.which("stp-etl") is None else "stp-etl"


def relative(path: Path) -> Path:
    """Return the path as it looks from here, where it is below."""
    here = Path.cwd()
    return path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path
