"""`stp-etl demo` as a process, and its proof: that it holds, and that it can fail."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.cli.proof import prove
from etl.errors import OperatorError
from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store.clearing import clear
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.acceptance.program import Program, feed_text, settings_text
from tests.databases import folder, rows
from tests.feeds import a_feed

PROOF = re.compile(
    r"^proof: 600 trades handed out, (?P<booked>\d+) booked, (?P<fields>[\d,]+) fields and (?P<totals>[\d,]+) totals "
    r"compared, (?P<differences>\d+) differences?$",
    re.MULTILINE,
)
SIX = ("Spot", "Outright", "NDF", "Swap", "FwdFwd", "NDFSwap")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder for demos that also the account of the embedded server can reach."""
    with folder() as made:
        yield made


def demo(place: Path, *options: str, trades: int = 600) -> subprocess.CompletedProcess[str]:
    return Program(place).call("demo", f"--trades={trades}", *options)


def test_the_demo_books_all_six_types_and_proves_it_twice(place):
    first = demo(place)
    second = demo(place, "--seed=2", "--page-size=20")

    for ended in (first, second):
        assert ended.returncode == 0, ended.stderr
        said = PROOF.search(ended.stdout)
        assert said is not None, ended.stdout
        assert (said["booked"], said["differences"]) == ("600", "0")
        assert int(said["fields"].replace(",", "")) > 600 * 50
        assert all(re.search(rf"^{each} +\d+ +\d+$", ended.stdout, re.MULTILINE) for each in (*SIX, "all"))
        assert "1 poll refused as expired" in ended.stdout
        assert "booked 600 of 600 trades" in ended.stderr
        assert "query it with: stp-etl db shell" in ended.stderr
        says_how_two_days_ended(ended.stdout)
    assert "dropped what an earlier demo had left" not in first.stderr
    assert "dropped what an earlier demo had left" in second.stderr


def says_how_two_days_ended(said: str) -> None:
    """Lost pages recovered; a status break that names its trade, a position break; one day COMPLETE, the next not."""
    assert re.search(r"^lost pages: 2 +(?!0 )\d+ trades recovered by resends", said, re.MULTILINE)
    ((number, trade_id),) = re.findall(r"^status break (\d+) +(FXI\d+), open: booked as version 2", said, re.MULTILINE)
    assert re.search(
        r"^position break \d+ +ORG pfOrg GBP/USD \S+ by 750,001\.23 GBP, investigating", said, re.MULTILINE
    )
    assert re.search(r"^Trades of the day$", said, re.MULTILINE)  # the sheet of `stp-etl day`
    assert re.findall(r"^certificate of \S+: (\w+)$", said, re.MULTILINE) == ["COMPLETE", "INCOMPLETE"]
    reasons = said[said.index("INCOMPLETE\nreason") :].splitlines()[3:]
    assert [line.split()[:3] for line in reasons] == [["break", "status", "break"], ["positions", "position", "break"]]
    assert f"status break {number} is open and names trade {trade_id}" in reasons[0]


@pytest.mark.nightly
def test_the_database_of_a_demo_stays_and_can_be_asked(place):
    demo(place, trades=60)
    server = EmbeddedPostgres(place / "var" / "postgres")
    assert not (server.data_dir / "postmaster.pid").exists()

    asked = Program(place).call("--config", "var/demo.toml", "trades", "list", "--limit", "3", "--format", "json")

    assert asked.returncode == 0, asked.stderr
    assert len(json.loads(asked.stdout)) == 3


def test_a_lost_page_is_said_and_the_proof_fails_with_names(place):
    ended = demo(place, "--fault=close_after")

    assert ended.returncode == 3
    said = PROOF.search(ended.stdout)
    assert said is not None, ended.stdout
    assert (said["booked"], said["differences"] == "0") == ("550", False)
    assert len(re.findall(r"^  trade FXI\d+: handed out, and not in the book$", ended.stdout, re.MULTILINE)) == 20
    assert "in doubt: a page was asked for, and what the vendor handed out is not known" in ended.stderr
    assert re.search(r"polls in doubt +1$", ended.stdout, re.MULTILINE)


def test_a_fault_that_does_not_exist_is_a_wrong_usage(place):
    ended = demo(place, "--fault=nonsense")

    assert ended.returncode == 2
    assert "no such fault: nonsense; there are: 400, " in ended.stderr
    assert "close_after" in ended.stderr


def test_a_stopped_demo_leaves_no_server_behind(place):
    program = Program(place)
    command = [sys.executable, "-m", "etl.cli.main", "demo", "--trades=20000", "--page-size=5"]
    running = subprocess.Popen(
        command, cwd=place, env=program.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    with running, running.stderr as said:
        assert any("migrated" in line for line in said)
        running.send_signal(signal.SIGTERM)
        said.read()
    assert running.returncode == 130
    assert not (place / "var" / "postgres" / "postmaster.pid").exists()


@pytest.mark.nightly
def test_two_demos_do_not_share_a_folder(place):
    command = [sys.executable, "-m", "etl.cli.main", "demo", "--trades=3000"]
    running = subprocess.Popen(
        command, cwd=place, env=Program(place).environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    with running, running.stderr as said:
        assert "vendor: a sandbox" in said.readline()
        second = demo(place)
        said.read()

    assert running.returncode == 0
    assert second.returncode == 1
    assert "stp-etl: another demo works in var/postgres" in second.stderr


def test_a_database_with_trades_of_a_real_feed_is_never_cleared(database, open_work):
    a_feed(open_work, "main")

    with pytest.raises(OperatorError, match="trades of feed main"):
        clear(database, trial_feeds=frozenset({"demo"}))

    assert rows(database, "SELECT name FROM stp.feed") == [("main",)]


@pytest.fixture(scope="module")
def proven(postgres, tmp_path_factory):
    """What a sandbox handed out, and a database in which all of it is booked."""
    with postgres.database() as url, SandboxProcess(Options(trades=200)) as sandbox:
        program = Program(tmp_path_factory.mktemp("proven"), settings_text(url, feed_text(sandbox.url)))
        ended = program.call("poll")
        assert ended.returncode == 0, ended.stderr
        database = Database(url)
        yield sandbox.control.handed_out(), database
        database.close()


def proof_after(proven, statement="SELECT 1", change_log=lambda log: log):
    """Return the proof with the book changed by this statement, and the log by this function; undo both."""
    log, database = proven
    with database.connect() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # so that no trigger refuses it
        connection.exec_driver_sql(statement.replace(":trade", repr(log[0]["trade_id"])))
        return prove(
            change_log([dict(line) for line in log]),
            lambda question: [dict(row) for row in connection.exec_driver_sql(question).mappings()],
        )


def test_the_proof_holds_before_anything_is_falsified(proven):
    proof = proof_after(proven)

    assert proof.holds, proof.differences[:5]
    assert (proof.handed_out, proof.booked) == (200, 200)


FALSIFIED = {
    "one digit of one amount": (
        "UPDATE stp.trade_leg SET dealt_amount = dealt_amount + 0.00000001 WHERE trade_id = :trade AND leg_no = 1",
        r"leg (FXI\d+), 1: dealt_amount is \S+ in the book, and the vendor said \S+",
    ),
    "the sign of a leg": (
        "UPDATE stp.trade_leg SET base_amount = -base_amount WHERE trade_id = :trade AND leg_no = 1",
        r"leg (FXI\d+), 1: base_amount is",
    ),
    "a counterparty": (
        "UPDATE stp.trade_version SET counterparty = 'Nobody' WHERE trade_id = :trade",
        r"trade (FXI\d+): counterparty is Nobody in the book, and the vendor said \w+",
    ),
    "an instant by a millisecond": (
        "UPDATE stp.trade_version SET executed_at = executed_at + interval '1 ms' WHERE trade_id = :trade",
        r"trade (FXI\d+): executed_at is",
    ),
    "an attribute too many": (
        'UPDATE stp.trade_version SET attributes = \'{"x": "1"}\' WHERE trade_id = :trade',
        r"trade (FXI\d+): attributes is",
    ),
    "a lost trade": (
        "DELETE FROM stp.trade WHERE trade_id = :trade",
        r"trade (FXI\d+): handed out, and not in the book",
    ),
    "a position": (
        "UPDATE stp.position SET term_amount = term_amount + 1 WHERE (legal_entity, symbol, value_date) = (SELECT "
        "legal_entity, symbol, min(value_date) FROM stp.position GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1)",
        r"position pfOrg, \w+, [^:]+: term_amount is",
    ),
    "bytes": (
        "UPDATE stp.message SET sha256 = sha256(sha256) WHERE trade_id = :trade",
        r"message with SHA-256 \w{64}: in the book, and not handed out",
    ),
}


@pytest.mark.parametrize(("statement", "said"), FALSIFIED.values(), ids=FALSIFIED.keys())
def test_the_proof_fails_when_the_book_is_falsified(proven, statement, said):
    proof = proof_after(proven, statement)

    assert not proof.holds
    assert any(re.match(said, each) for each in proof.differences), proof.differences[:5]


def another_digit(log):
    amount = re.search(r'"dealtAmount":(\d+)', log[0]["body"])
    log[0]["body"] = log[0]["body"].replace(amount[0], f'"dealtAmount":{int(amount[1]) + 1}')
    return log


def one_more(log):
    return [*log, {**log[0], "trade_id": "FXJ1", "body": log[0]["body"].replace('"FXI', '"FXJ')}]


@pytest.mark.parametrize("change_log", [another_digit, one_more, lambda log: log[1:], lambda log: log[:0]])
def test_the_proof_fails_when_the_vendor_handed_out_something_else(proven, change_log):
    assert not proof_after(proven, change_log=change_log).holds
