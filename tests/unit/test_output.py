"""Results on stdout as table, JSON and CSV: exact, and safe to look at."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import StrEnum

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl.cli.output import Format, remark, show, show_card, showable
from etl.domain.words import counted, numbered


class Side(StrEnum):
    BUY = "Buy"


COLUMNS = ["trade_id", "amount", "day", "at", "live", "side", "tags", "note"]
ROWS = [
    ("FXI1", Decimal("1000000.10"), date(2026, 3, 2), datetime(2026, 3, 2, 21, 59, 58, tzinfo=UTC), True, Side.BUY,
     ("a", "b"), None),
    ("FXI22", Decimal("-1E+3"), date(2026, 3, 2), datetime(2026, 3, 2, 17, tzinfo=timezone(timedelta(hours=-5))),
     False, Side.BUY, (), "x,\"y\"\nz"),
]  # fmt: skip


def test_json_is_exact(capsys):
    show(ROWS, COLUMNS, Format.JSON)

    first, second = json.loads(capsys.readouterr().out)
    assert first == {
        "trade_id": "FXI1", "amount": "1000000.10", "day": "2026-03-02", "at": "2026-03-02T21:59:58Z", "live": True,
        "side": "Buy", "tags": ["a", "b"], "note": None,
    }  # fmt: skip
    assert (second["amount"], second["at"]) == ("-1000", "2026-03-02T22:00:00Z")


@pytest.mark.parametrize("fmt", Format)
def test_bytes_are_hex_in_every_format(capsys, fmt):
    show_card({"content_hash": b"Z\xc8", "view": memoryview(b"\x00\xff")}, fmt)

    said = capsys.readouterr().out
    assert ("5ac8" in said, "00ff" in said, "b'" in said) == (True, True, False)


def test_a_count_and_its_noun_agree():
    assert [counted(each, "break") for each in (0, 1, 2000)] == ["0 breaks", "1 break", "2,000 breaks"]
    assert counted(2, "row differs", "rows differ") == "2 rows differ"
    assert (numbered("break", [17]), numbered("break", [17, 4])) == ("break 17", "breaks 17, 4")


def test_csv_is_exact(capsys):
    show(ROWS, COLUMNS, Format.CSV)

    header, first, second = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == COLUMNS
    assert first == ["FXI1", "1000000.10", "2026-03-02", "2026-03-02T21:59:58Z", "true", "Buy", '["a", "b"]', ""]
    assert second[-1] == 'x,"y"\nz'


def test_a_table_is_not_folded_in_a_pipe_and_amounts_stand_right(capsys):
    show([("a" * 300, Decimal("1.5")), ("b", Decimal("1000.25"))], ["name", "amount"])

    header, _, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "amount"]
    assert first == "a" * 300 + "       1.5"
    assert second.endswith("   1000.25")
    assert len(first) == len(second)


def test_a_table_shows_markup_and_control_characters_as_nothing_special(capsys):
    show([["[red]x[/red]\x1b[2J\r\n\u202ey\ud800"]], ["vendor_text"])

    assert capsys.readouterr().out.splitlines()[-1] == "[red]x[/red][2J  y"


def test_rows_may_be_mappings(capsys):
    show([{"b": 2, "a": 1, "c": 3}], ["a", "b"], Format.CSV)

    assert capsys.readouterr().out == "a,b\n1,2\n"


def test_no_rows_are_an_empty_array_a_header_or_a_remark(capsys):
    show([], ["a"], Format.JSON)
    assert json.loads(capsys.readouterr().out) == []
    show([], ["a"], Format.CSV)
    assert capsys.readouterr().out == "a\n"
    show([], ["a"])
    assert capsys.readouterr() == ("", "nothing to show\n")


def test_a_card_has_a_line_for_each_value(capsys):
    show_card({"state": "open", "opened_at": datetime(2026, 3, 2, tzinfo=UTC), "cut": time(17)})
    assert capsys.readouterr().out == "state      open\nopened_at  2026-03-02T00:00:00Z\ncut        17:00\n"
    show_card({"amount": Decimal("1.10"), "n": 3}, Format.JSON)
    assert json.loads(capsys.readouterr().out) == {"amount": "1.10", "n": 3}
    show_card({"amount": Decimal("1.10")}, Format.CSV)
    assert capsys.readouterr().out == "key,value\namount,1.10\n"


def test_remarks_go_to_stderr(capsys):
    remark("first\x1b[0m\nsecond")

    assert capsys.readouterr() == ("", "first[0m\nsecond\n")


@pytest.mark.parametrize("fmt", [Format.JSON, Format.CSV])
@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=20))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_an_amount_comes_back_digit_for_digit(capsys, fmt, value):
    show([[value]], ["amount"], fmt)

    out = capsys.readouterr().out
    read = json.loads(out)[0]["amount"] if fmt is Format.JSON else out.splitlines()[1]
    assert Decimal(read).as_tuple() == value.as_tuple()


@given(text=st.text(st.characters()))
def test_nothing_on_the_terminal_can_move_the_cursor(text):
    shown = showable(text)

    assert shown.isprintable()
    shown.encode("utf-8")


@given(text=st.text(st.characters()))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_of_the_vendor_comes_back_from_json(capsys, text):
    show([[text]], ["note"], Format.JSON)

    out = capsys.readouterr().out
    out.encode("utf-8")
    assert json.loads(out) == [{"note": text}]


def on_a_terminal(width: int) -> tuple[str, str]:
    """Return what `show` writes to a terminal of this width, and to stderr."""
    code = (
        "from etl.cli.output import Format, show\n"
        "show([('FXI1', 'EUR/USD', 'x' * 30), ('FXI2', 'USD/JPY', None)], ['trade_id', 'symbol', 'note'], "
        "Format.TABLE, ['note'])"
    )
    terminal, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=theirs, stderr=subprocess.PIPE, text=True, check=True,
        env={"COLUMNS": str(width), "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    os.close(theirs)
    with os.fdopen(terminal, "rb", buffering=0) as seen:
        return seen.read(100_000).decode().replace("\r\n", "\n"), done.stderr


def test_a_wide_terminal_shows_the_whole_table():
    shown, said = on_a_terminal(100)

    assert "x" * 30 in shown.splitlines()[2]
    assert said == ""


def test_a_narrow_terminal_goes_without_the_spare_columns_and_says_so():
    shown, said = on_a_terminal(30)

    assert [line.split() for line in shown.splitlines()[2:]] == [["FXI1", "EUR/USD"], ["FXI2", "USD/JPY"]]
    assert said == "no room for note: widen the terminal, or use --format json or csv\n"


def test_a_terminal_too_narrow_for_any_table_shows_a_block_a_row():
    shown, _ = on_a_terminal(12)

    assert shown.splitlines() == [
        "-- 1 of 2", "trade_id  FXI1", "symbol    EUR/USD", "note      " + "x" * 30,
        "-- 2 of 2", "trade_id  FXI2", "symbol    USD/JPY",
    ]  # fmt: skip
