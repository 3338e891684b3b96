"""The program as an operator has it: processes, a settings file, an environment; and the sandbox it talks to."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from etl.cli.proof import Proof, prove
from etl.sandbox.options import User
from etl.sandbox.process import SandboxProcess
from etl.store.database import Database
from tests.databases import rows
from tests.leftovers import process_ends_with_us

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 150.0
SWEEPS_OFF = '[reconciliation]\nsweep = "off"\n'  # or the outcome depends on the hour at which it is played


def settings_text(database_url: str, *feeds: str, ops: str = "") -> str:
    """Return a settings file with this database and these feeds, without sweeps."""
    ours = f'[database]\nurl = "{database_url}"\n[ops]\nlisten = "127.0.0.1:0"\n{ops}\n'
    return ours + SWEEPS_OFF + "".join(feeds)


def feed_text(url: str, user: User | None = None, name: str = "main", **keys: Any) -> str:
    """Return the table of a feed that polls this sandbox as this user."""
    user = user or User()
    values = {
        "base_url": url, "org": user.org, "user": user.name, "password": user.password, "poll_interval_s": 0.5,
        "error_pause_min_s": 0.1, "error_pause_max_s": 0.3, **keys,
    }  # fmt: skip
    return f"[feeds.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


class Program:
    """`stp-etl` with one settings file, called in a folder of its own."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.file = folder / "my.toml"
        self.file.write_text(settings)

    @property
    def environment(self) -> dict[str, str]:
        """What a process gets; none of ours but the path to the code."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STP_ETL")}
        return kept | {"PYTHONPATH": str(ROOT), "STP_ETL_CONFIG": str(self.file)}

    def call(self, *words: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = [sys.executable, "-m", "etl.cli.main", *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout
        )

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command, to be waited for."""
        command = [sys.executable, "-m", "etl.cli.main", *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    @contextmanager
    def daemon(self, **variables: str) -> Iterator["Daemon"]:
        """Run the daemon, with these variables in its environment, and end it at the latest when the block does."""
        log = self.folder / f"daemon-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "etl.cli.main", "run"]
        with log.open("wb") as out:
            environment = self.environment | variables
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=out, stderr=out)
            try:
                with process_ends_with_us(process.pid):
                    yield Daemon(process, log)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()


class Daemon:
    """A running daemon and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    @property
    def said(self) -> str:
        return self.log.read_text()

    def events(self, name: str) -> list[Mapping[str, Any]]:
        """Return the log lines of this name."""
        lines = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def started(self) -> "Daemon":
        """Wait until it works."""
        until(lambda: self.events("daemon.started") or self.process.poll() is not None, what="the daemon to start")
        assert self.process.poll() is None, self.said
        return self

    @property
    def url(self) -> str:
        """The address of its pages."""
        until(lambda: self.events("ops.listening") or self.process.poll() is not None, what="the pages")
        assert self.process.poll() is None, self.said
        return str(self.events("ops.listening")[0]["url"])

    def page(self, path: str) -> requests.Response:
        """Fetch one of its pages, which must come within seconds whatever happens."""
        return requests.get(self.url + path, timeout=60)

    def parts(self) -> dict[str, dict[str, Any]]:
        """Return each part as the readiness page tells it."""
        return dict(self.page("/readyz").json()["components"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


def sentences(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what a command said to the person, without its log lines."""
    return [line for line in ended.stderr.splitlines() if not line.startswith("{")]


def until(holds: Callable[[], Any], *, what: str, within_s: float = PATIENCE_S) -> float:
    """Wait until it holds; return the seconds that took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within_s, f"waited {within_s} s for {what}"
        time.sleep(0.02)
    return time.monotonic() - started


def booked(database: Database, feed: str = "main") -> set[str]:
    """Return the ids of the trades that a reader of the reports sees."""
    return {each for (each,) in rows(database, "SELECT trade_id FROM reporting.trade WHERE feed = :feed", feed=feed)}


def handed_out(sandbox: SandboxProcess, user: str = User.name) -> set[str]:
    """Return the ids of the trades that the sandbox's own log says it handed out."""
    return {line["trade_id"] for line in sandbox.control.handed_out() if line["user"] == user}


def count_handed_out(sandbox: SandboxProcess) -> int:
    """Return how many trades the sandbox has handed out; quicker than the whole log."""
    return int(sandbox.control.state()["handed_out"])


def proof_of(sandbox: SandboxProcess, database: Database) -> Proof:
    """Compare the sandbox's log with the book, field by field."""
    with database.connect() as connection:
        return prove(
            sandbox.control.handed_out(),
            lambda question: [dict(row) for row in connection.exec_driver_sql(question).mappings()],
        )


def status_of(database: Database, feed: str = "main") -> Mapping[str, Any]:
    """Return the feed's row of the status report."""
    with database.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM reporting.feed_status").mappings()
        return next(dict(row) for row in found if row["feed"] == feed)


def open_polls(database: Database) -> int:
    """Return how many polls have no outcome yet."""
    return len(rows(database, "SELECT FROM stp.current_poll WHERE outcome IS NULL"))
