"""`export`: files that are whole or not there, exact to the digit, the same bytes for the same day."""

import csv
import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest

from etl.domain.payload import Number
from tests.builders import a_raw_message, a_swap_message, as_bytes
from tests.commands import ROOT
from tests.databases import change

DAY = "2023-06-02"
KINDS = ("trades", "legs", "positions", "breaks")
FORMATS = ("csv", "jsonl", "parquet")
EACH_ONCE = (("trades", "csv"), ("legs", "jsonl"), ("positions", "parquet"), ("breaks", "csv"))
PAIRS = [
    pytest.param(*pair, marks=[] if pair in EACH_ONCE else pytest.mark.nightly) for pair in product(KINDS, FORMATS)
]


@pytest.fixture
def book(booking):
    """A spot, a swap and an NDF of one day, one of another day, a conflict; a text that CSV must quote."""
    booking.book(
        a_raw_message(note='a "quoted", text\nwith two lines'),
        as_bytes(a_swap_message(tradeId="S1")),
        a_raw_message(tradeId="N1", tradeType="NDF", fixingDate="2023-06-05", symbol="USD/KRW", currency="USD",
                      dealtAmount=100, settledAmount=Number("131450.123456789012345678")),
        a_raw_message(tradeId="T2", tradeDate="2023-06-01"),
    )  # fmt: skip
    booking.book(a_raw_message(tradeId="T2", tradeDate="2023-06-01", dealtAmount=3, settledAmount=4))
    change(booking.database, "UPDATE stp.recon_break SET opened_at = '2023-06-02 12:00Z', currency = 'EUR',"
                             " difference = -12.50")  # fmt: skip
    return booking


def exported(stp_etl, path, kind="trades", *more):
    done = stp_etl("export", kind, "--trade-date", DAY, "--to", str(path), *more)
    assert done.code == 0, done.err
    return json.loads((path.parent / f"{path.name}.control.json").read_text())


def read(path):
    """Return the rows of a file as texts by column."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    return parquet.read_table(path).to_pylist()


def skip_without(fmt):
    if fmt == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")


@pytest.mark.parametrize(("kind", "fmt"), PAIRS)
def test_a_file_holds_the_rows_and_its_totals_say_so(stp_etl, book, tmp_path, kind, fmt):
    skip_without(fmt)
    path = tmp_path / f"out.{fmt}"

    totals = exported(stp_etl, path, kind)

    rows = read(path)
    assert (totals["rows"], len(rows)) == ({"trades": 3, "legs": 4, "positions": 3, "breaks": 1}[kind],) * 2
    assert totals["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert totals["bytes"] == path.stat().st_size
    assert list(rows[0]) == totals["columns"]
    assert (totals["file"], totals["kind"], totals["trade_date"], totals["format"]) == (path.name, kind, DAY, fmt)
    assert totals["certificates"] == "none"
    assert sorted(each.name for each in tmp_path.glob("*out*")) == [path.name, f"{path.name}.control.json"]
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_digit_and_every_character_arrives(stp_etl, book, tmp_path, fmt):
    skip_without(fmt)
    path = tmp_path / f"legs.{fmt}"
    exported(stp_etl, path, "legs")
    exported(stp_etl, tmp_path / f"trades.{fmt}")

    legs = {(row["trade_id"], int(row["leg_no"])): row for row in read(path)}
    notes = {row["trade_id"]: row["note"] for row in read(tmp_path / f"trades.{fmt}")}
    assert Decimal(legs["N1", 1]["term_amount"]) == Decimal("-131450.123456789012345678")
    assert Decimal(legs["S1", 2]["settled_amount"]) == Decimal("1085900.50")
    assert notes["FXI9369258100"] == 'a "quoted", text\nwith two lines'


@pytest.mark.parametrize(
    ("kind", "sums"),
    [
        ("trades", {"EUR": "1000000", "KRW": "-131450.123456789012345678", "USD": "-1082499.50"}),
        ("legs", {"EUR": "1000000", "KRW": "-131450.123456789012345678", "USD": "-1082499.50"}),
        ("positions", {"EUR": "1000003", "KRW": "-131450.123456789012345678", "USD": "-1082503.50"}),
        ("breaks", {"EUR": "-12.50"}),
    ],
)
def test_sums_per_currency_are_those_of_the_rows(stp_etl, book, tmp_path, kind, sums):
    totals = exported(stp_etl, tmp_path / "out.csv", kind)

    assert {currency: Decimal(each["amount"]) for currency, each in totals["sums"].items()} == {
        currency: Decimal(amount) for currency, amount in sums.items()
    }


@pytest.mark.parametrize(("kind", "fmt"), PAIRS)
def test_the_same_day_twice_gives_the_same_bytes(stp_etl, book, tmp_path, kind, fmt):
    skip_without(fmt)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        exported(stp_etl, tmp_path / folder / f"out.{fmt}", kind)
        book.clock.advance(3600)
        book.book(a_raw_message(tradeId="T9", tradeDate="2023-06-05", valueDate="2023-06-07"))  # of another day

    for name in (f"out.{fmt}", f"out.{fmt}.control.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_breaks_are_those_that_were_open_when_the_day_ended_with_the_age_of_that_day(stp_etl, book, tmp_path):
    at = "UPDATE stp.recon_break SET opened_at = :opened, closed_at = :closed, state = :state"

    def ages(opened, closed, state):
        values = {"opened": datetime(2023, *opened, tzinfo=UTC), "state": state}
        change(book.database, at, closed=closed and datetime(2023, *closed, tzinfo=UTC), **values)
        exported(stp_etl, tmp_path / "b.jsonl", "breaks", "--overwrite")
        return [row["age_business_days"] for row in read(tmp_path / "b.jsonl")]

    assert ages((5, 29, 12), None, "open") == [4]
    assert ages((5, 29, 12), (6, 5, 12), "cleared") == [4]
    assert ages((5, 29, 12), (6, 1, 12), "cleared") == []
    assert ages((6, 2, 22), None, "open") == []  # 18:00 in New York: of the next trade day


def test_a_day_without_trades_is_an_empty_file_with_a_header_and_totals_of_nothing(stp_etl, book, tmp_path):
    path = tmp_path / "out.csv"
    done = stp_etl("export", "trades", "--trade-date", "2020-01-01", "--to", str(path))

    totals = json.loads((tmp_path / "out.csv.control.json").read_text())
    assert (done.code, totals["rows"], totals["sums"]) == (0, 0, {})
    assert path.read_text().split(",")[:2] == ["feed", "trade_id"]
    assert "out.csv: 0 trades of 2020-01-01" in done.err


@pytest.mark.parametrize("kind", ["trades", "breaks"])
def test_a_day_that_has_not_begun_is_refused_and_no_file_is_made(stp_etl, book, tmp_path, kind):
    stp_etl.configure('\n[reconciliation]\nbusiness_day_ends = "16:00"\nsweep_at = "16:30"\ntimezone = "Europe/Zurich"')

    done = stp_etl("export", kind, "--trade-date", "2999-03-02", "--to", str(tmp_path / "out.csv"))

    assert done.code == 2
    assert "2999-03-02 has not begun: it begins at 2999-03-01T15:00:00Z" in done.err
    assert not list(tmp_path.glob("*out.csv*"))


def test_only_the_trades_of_a_feed_where_one_is_named(stp_etl, book, tmp_path):
    name = book.feed.name

    assert exported(stp_etl, tmp_path / "one.csv", "trades", "--feed", name)["rows"] == 3
    other = stp_etl("export", "trades", "--trade-date", DAY, "--to", str(tmp_path / "two.csv"), "--feed", "nobody")
    assert (other.code, (tmp_path / "two.csv").exists()) == (1, False)
    assert f"knows no feed nobody; it knows: {name}" in other.err


def test_a_certificate_of_the_day_is_cited(stp_etl, book, tmp_path):
    change(
        book.database,
        "INSERT INTO stp.certificate (feed_id, trade_date, number, state, issued_at, issued_by, reasons, basis, counts,"
        " sums, difference, cited, trades_sha256, settings_hash, software_version, sha256) VALUES (:id, :day, 1,"
        " 'COMPLETE', now(), 'olga', '[]', '{}', '{}', '{}', '{}', '[]', '\\x00', 'x', '1', '\\xab')",
        id=book.feed.feed_id, day=datetime(2023, 6, 2, tzinfo=UTC).date(),
    )  # fmt: skip

    assert exported(stp_etl, tmp_path / "out.csv")["certificates"] == [
        {"feed": book.feed.name, "number": 1, "state": "COMPLETE", "sha256": "ab"}
    ]


@pytest.mark.parametrize("there", ["out.csv", "out.csv.control.json"])
def test_a_file_that_exists_is_kept_unless_it_may_be_overwritten(stp_etl, book, tmp_path, there):
    (tmp_path / there).write_text("mine")
    call = ("export", "trades", "--trade-date", DAY, "--to", str(tmp_path / "out.csv"))

    refused = stp_etl(*call)
    kept = (tmp_path / there).read_text()
    done = stp_etl(*call, "--overwrite")

    assert (refused.code, kept, done.code) == (1, "mine", 0)
    assert f"{there} exists; name another file, or say --overwrite" in refused.err
    assert (tmp_path / there).read_text() != "mine"


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("nowhere/out.csv", 1, "nowhere is no folder; make it first"),
        ("", 1, "is a folder; name a file in it"),
        ("out.xls", 2, "out.xls ends in none of .csv, .jsonl, .parquet; say --format"),
    ],
)
def test_a_place_that_cannot_be_is_said_at_once(stp_etl, book, tmp_path, name, code, said):
    target = f"{tmp_path}/{name}" if name else str(tmp_path)
    words = ["--format", "csv"] if not name else []

    done = stp_etl("export", "trades", "--trade-date", DAY, "--to", target, *words)

    assert (done.code, said in done.err) == (code, True)


def limited(stp_etl, *words, before):
    """Run the command as a process in which `before` was called first."""
    return subprocess.run(
        [sys.executable, "-m", "etl.cli.main", *words], env={**os.environ, **stp_etl.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=before, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def a_small_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_disk_that_takes_no_more_leaves_nothing_behind(stp_etl, book, tmp_path, fmt):
    skip_without(fmt)
    book.book(*(a_raw_message(tradeId=f"X{n}", note=os.urandom(300).hex()) for n in range(60)))
    path = tmp_path / f"out.{fmt}"
    path.write_text("of yesterday")

    call = ("export", "trades", "--trade-date", DAY, "--to", str(path), "--overwrite")
    done = limited(stp_etl, *call, before=a_small_disk)

    assert done.returncode == 1, done.stderr
    assert "File too large; no file was written" in done.stderr
    assert [each.name for each in tmp_path.glob("*out*")] == [path.name]
    assert path.read_text() == "of yesterday"


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="there is no /sys, which nobody may write to")
def test_a_folder_that_may_not_be_written_is_a_sentence(stp_etl, book):
    done = stp_etl("export", "trades", "--trade-date", DAY, "--to", "/sys/kernel/out.csv")

    assert done.code == 1
    assert "no file was written" in done.err
    assert "/sys/kernel/.out.csv.part: " in done.err


def test_two_exports_into_one_file_do_not_mix(stp_etl, book, tmp_path):
    with (tmp_path / ".out.csv.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = stp_etl("export", "trades", "--trade-date", DAY, "--to", str(tmp_path / "out.csv"))

    assert (done.code, (tmp_path / "out.csv").exists()) == (1, False)
    assert "another export is writing" in done.err


def test_what_a_killed_export_left_is_written_over(stp_etl, book, tmp_path):
    (tmp_path / ".out.csv.part").write_bytes(b"x" * 1_000_000)

    exported(stp_etl, tmp_path / "out.csv")

    assert len(read(tmp_path / "out.csv")) == 3
    assert list(tmp_path.glob(".*")) == []


def test_without_the_library_it_is_said_what_to_install(stp_etl, book, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "etl.cli.export_parquet", raising=False)

    done = stp_etl("export", "trades", "--trade-date", DAY, "--to", str(tmp_path / "out.parquet"))

    assert (done.code, list(tmp_path.glob("*out*"))) == (1, [])
    assert "parquet files need pyarrow; install it with: pip install 'stp-etl[parquet]'" in done.err


def test_parquet_keeps_numbers_as_numbers_and_refuses_what_it_cannot_hold(stp_etl, book, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    exported(stp_etl, tmp_path / "out.parquet", "legs")
    schema = parquet.read_schema(tmp_path / "out.parquet")

    assert schema.field("dealt_amount").type == pa.decimal128(38, 10)
    assert schema.field("term_amount").type == pa.decimal128(38, 18)
    assert schema.field("value_date").type == pa.date32()

    large, small = {"dealtAmount": 9 * 10**37}, {"dealtAmount": Number(f"0.{'0' * 37}1")}
    book.book(*(a_raw_message(tradeId=f"L{n}", **each) for n, each in enumerate((large, large, small))))
    done = stp_etl("export", "positions", "--trade-date", DAY, "--to", str(tmp_path / "wide.parquet"))
    assert (done.code, (tmp_path / "wide.parquet").exists()) == (1, False)
    assert "has a number of 77 digits, and Parquet holds 76 exactly; use csv or jsonl" in done.err


def test_a_path_that_ends_as_a_folder_does_is_no_file(stp_etl, book, tmp_path):
    done = stp_etl("export", "trades", "--trade-date", DAY, "--to", f"{tmp_path}/trades.csv/")

    assert done.code == 2
    assert f"{tmp_path}/trades.csv/ is a folder; name a file in it" in done.err
    assert list(tmp_path.glob("trades*")) == []
