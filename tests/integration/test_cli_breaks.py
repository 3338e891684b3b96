"""`stp-etl breaks`: what stands first, and what people do to one or to many, all of it or nothing."""

from datetime import timedelta
from decimal import Decimal

import pytest

from etl.domain.reconciliation import BreakKind, Finding
from tests.clocks import START
from tests.databases import change, rows

LATER = "2099-03-09T22:00Z"
EVENTS = "SELECT break_id, deed, by, note FROM stp.break_event WHERE deed <> 'opened' ORDER BY id"
AUDIT = "SELECT operator, deed, reason, subject FROM reporting.audit ORDER BY audit_id"
ROWS = "SELECT id, state, assigned_to, reason, vendor_ticket, accepted_until::text, closed_by FROM stp.recon_break"


@pytest.fixture
def make(desk):
    """Find a difference, give its break these columns, and return its number."""

    def made(key, *, kind=BreakKind.POSITION, days=0, **columns):
        finding = Finding(kind, key, f"{key} differs", difference=Decimal(5), currency="EUR", trade_id=key)
        at = START + timedelta(days=days)
        with desk.open_work() as work:
            number = work.breaks.found(desk.feed.feed_id, finding, at=at, run_id=None).id
            if columns:
                work.breaks.change(number, **columns)
            work.commit()
        return number

    return made


@pytest.fixture
def three(make):
    """Three open breaks, by number."""
    return [make(key) for key in ("A", "B", "C")]


def listed(stp_etl, *words):
    done = stp_etl("breaks", "list", "--format", "json", *words)
    assert done.code == 0, done.err
    return [each["key"] for each in done.json]


def states(desk):
    return [state for (state,) in rows(desk.database, "SELECT state FROM stp.recon_break ORDER BY id")]


def test_what_a_person_should_do_first_stands_first(make, stp_etl):
    amount = {"reporting_amount": Decimal(500), "severity": "medium"}
    make("resolved", severity="high", state="resolved")
    make("cleared", severity="high", state="cleared")
    make("accepted", severity="high", state="accepted")
    make("low", severity="low", state="investigating")
    make("medium, newer", days=1, **amount)
    make("medium, smaller", **amount | {"reporting_amount": Decimal(400)})
    make("medium, larger", **amount | {"reporting_amount": Decimal(-600)})
    make("medium, without amount", severity="medium")
    make("medium, somebody does it", **amount, assigned_to="anna", days=-9)
    make("nobody weighed it", severity=None)
    make("unknown", severity="unknown", days=-1)
    make("high, somebody does it", severity="high", assigned_to="anna")
    make("high", severity="high", state="investigating")
    to_do = [
        "high", "high, somebody does it", "unknown", "nobody weighed it", "medium, larger", "medium, smaller",
        "medium, without amount", "medium, newer", "medium, somebody does it", "low",
    ]  # fmt: skip

    assert listed(stp_etl) == to_do
    assert listed(stp_etl, "--all") == [*to_do, "accepted", "resolved", "cleared"]


def test_the_list_is_of_one_kind_state_person_or_length(make, stp_etl):
    make("A", severity="high")
    make("B", kind=BreakKind.STATUS, assigned_to="anna")
    make("C", state="resolved")

    assert listed(stp_etl, "--kind", "status") == ["B"]
    assert listed(stp_etl, "--state", "resolved") == ["C"]
    assert listed(stp_etl, "--assigned", "anna") == ["B"]
    shortened = stp_etl("breaks", "list", "--limit", "1", "--format", "json")
    assert [each["key"] for each in shortened.json] == ["A"]
    assert "--limit" in shortened.err


def test_many_are_assigned_at_once_and_their_state_stays(three, desk, stp_etl):
    change(desk.database, "UPDATE stp.recon_break SET state = 'investigating' WHERE id = :id", id=three[1])
    first, second, third = map(str, three)

    done = stp_etl("breaks", "assign", first, second, first, "--to", " anna ")

    assert (done.code, done.err.strip()) == (0, f"breaks {first}, {second} are assigned to anna")
    assert [each[1:3] for each in rows(desk.database, f"{ROWS} ORDER BY id")] == [
        ("open", "anna"), ("investigating", "anna"), ("open", None),
    ]  # fmt: skip
    assert rows(desk.database, EVENTS) == [(each, "assigned", "olga", "assigned to anna") for each in three[:2]]
    assert rows(desk.database, AUDIT) == [
        ("olga", "breaks assigned", "assigned to anna", f"break {each}") for each in three[:2]
    ]
    assert stp_etl("breaks", "assign", second, third, "--to", "").code == 0
    assert [each[2] for each in rows(desk.database, f"{ROWS} ORDER BY id")] == ["anna", None, None]


def test_a_remark_is_kept_with_each_and_the_ones_before_stay(three, desk, stp_etl):
    first, second, _ = map(str, three)
    before = rows(desk.database, f"{ROWS} ORDER BY id")

    assert stp_etl("breaks", "comment", first, "--text", "asked the vendor").code == 0
    assert stp_etl("breaks", "comment", first, second, "--text", "no answer yet").code == 0

    assert [(number, note) for number, _, _, note in rows(desk.database, EVENTS)] == [
        (three[0], "asked the vendor"), (three[0], "no answer yet"), (three[1], "no answer yet"),
    ]  # fmt: skip
    assert rows(desk.database, f"{ROWS} ORDER BY id") == before
    assert stp_etl("breaks", "comment", first, "--text", "  ").code == 2


def test_many_are_accepted_with_a_date_a_ticket_and_a_reason(three, desk, stp_etl):
    first, second, _ = map(str, three)
    words = ("--until", LATER, "--ticket", "V-12", "--reason", "known there")

    done = stp_etl("breaks", "accept", first, second, *words)

    assert (done.code, done.err.strip()) == (
        0,
        f"breaks {first}, {second} are accepted until 2099-03-09T22:00:00Z with ticket V-12",
    )
    accepted = ("accepted", None, "known there", "V-12", "2099-03-09 22:00:00+00", None)
    assert rows(desk.database, f"{ROWS} WHERE state = 'accepted' ORDER BY id") == [
        (three[0], *accepted), (three[1], *accepted),
    ]  # fmt: skip
    assert listed(stp_etl) == ["C"]
    again = stp_etl("breaks", "accept", first, "--until", "2099-04-01T00:00Z", "--reason", "longer")
    assert (again.code, again.err.strip()) == (0, f"break {first} is accepted until 2099-04-01T00:00:00Z")
    assert rows(desk.database, f"{ROWS} WHERE id = {first}")[0][3:6] == ("longer", "V-12", "2099-04-01 00:00:00+00")


def test_nothing_is_accepted_until_a_date_that_is_over(three, desk, stp_etl):
    done = stp_etl("breaks", "accept", str(three[0]), "--until", "2024-01-01T00:00Z", "--reason", "late")

    assert done.code == 2
    assert "is over" in done.err
    assert states(desk) == ["open"] * 3


def test_many_are_resolved_by_a_person_with_a_reason(three, desk, stp_etl):
    first, second, third = map(str, three)
    assert stp_etl("breaks", "accept", second, "--until", LATER, "--reason", "known").code == 0

    done = stp_etl("breaks", "resolve", first, second, "--reason", "booked by hand")
    assert (done.code, done.err.strip()) == (0, f"breaks {first}, {second} are resolved")

    resolved = ("resolved", None, "booked by hand", None, None, "olga")
    assert rows(desk.database, f"{ROWS} WHERE state = 'resolved' ORDER BY id") == [
        (three[0], *resolved), (three[1], *resolved),
    ]  # fmt: skip
    assert states(desk)[2] == "open"
    assert stp_etl("breaks", "resolve", third, "--reason", " ").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("resolve", "--reason", "x"), ("accept", "--until", LATER, "--reason", "x"), ("assign", "--to", "anna"),
        ("comment", "--text", "x"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_one_number_that_is_wrong_leaves_all_as_they_were(three, desk, stp_etl, words):
    change(desk.database, "UPDATE stp.recon_break SET state = 'resolved' WHERE id = :id", id=three[1])
    before = [rows(desk.database, each) for each in (f"{ROWS} ORDER BY id", EVENTS, AUDIT)]
    deed, *more = words

    done = stp_etl("breaks", deed, *map(str, three), "4711", "4712", *more)

    assert done.code == 1
    assert "there is no break 4711; there is no break 4712" in done.err
    assert ("is resolved already" in done.err) == (deed in ("resolve", "accept"))
    assert "nothing was changed" in done.err
    assert [rows(desk.database, each) for each in (f"{ROWS} ORDER BY id", EVENTS, AUDIT)] == before


def test_show_says_what_to_do_and_everything_that_happened(three, make, stp_etl):
    number = str(make("FXI7", kind=BreakKind.MISSING_AT_VENDOR))
    stp_etl("breaks", "comment", number, "--text", "asked the vendor")

    shown = stp_etl("breaks", "show", number, "--format", "json").json
    table = stp_etl("breaks", "show", number).out

    assert shown["to_do"] == "ask the vendor about FXI7; it stays in the book"
    assert [each["deed"] for each in shown["events"]] == ["opened", "commented"]
    assert [each["difference"] for each in shown["observations"]] == ["5"]
    assert "asked the vendor" in table
    missing = stp_etl("breaks", "show", "4711")
    assert (missing.code, "there is no break 4711; see: stp-etl breaks list --all" in missing.err) == (1, True)
    assert three
