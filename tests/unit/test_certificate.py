"""A day is COMPLETE when every condition of design §6 holds, and each that does not is a reason of its own."""

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from etl.domain.certificate import CertificateState, Control, DayFacts, OpenBreak, OpenGap, judge
from etl.domain.sweeps import SweepState

CLOSE = datetime(2026, 3, 2, 22, tzinfo=UTC)
COMPLETE = DayFacts(
    feed="main", trade_date=date(2026, 3, 2), now=CLOSE + timedelta(hours=2), closes_at=CLOSE,
    proven_at=CLOSE + timedelta(minutes=5), sweep_wanted=True, sweep=SweepState.EQUAL,
    controls=(Control("positions", True, 7, CLOSE, "agreed", True), Control("fills", False)),
)  # fmt: skip
A_BREAK = OpenBreak(3, "status", "accepted", "FXI1")


def test_a_day_without_any_doubt_is_complete():
    assert judge(COMPLETE) == (CertificateState.COMPLETE, ())


def test_before_the_close_it_does_not_advise_a_resend_that_would_prove_nothing():
    found = msgspec.structs.replace(COMPLETE, sweep=SweepState.NONE, now=CLOSE - timedelta(hours=1))

    assert [each.command for each in judge(found)[1] if each.reason == "sweep"] == [
        "stp-etl certify --trade-date 2026-03-02"
    ]


def test_what_a_sweep_recovered_is_booked_and_complete():
    assert judge(msgspec.structs.replace(COMPLETE, sweep=SweepState.RECOVERED))[0] is CertificateState.COMPLETE


@pytest.mark.parametrize(
    ("change", "reason", "word", "command"),
    [
        ({"doubts": (5,)}, "poll_in_doubt", "poll 5", "stp-etl run"),
        ({"under_way": 6}, "poll_unknown", "poll 6", "stp-etl run"),
        ({"unbooked": 2}, "not_booked", "2 landed answers", "stp-etl status"),
        ({"gaps": (OpenGap(4, "escalated", "refused"),)}, "gap", "gap 4 is escalated: refused", "stp-etl gaps show 4"),
        ({"sweep": SweepState.NONE}, "sweep", "not asked again", "stp-etl resend --from 2026-03-02"),
        ({"sweep": SweepState.RUNNING}, "sweep", "under way", "stp-etl resend"),
        ({"sweep": SweepState.SHORT, "sweep_why": "2 absent"}, "sweep", "2 absent", "stp-etl resend"),
        ({"sweep": SweepState.NONE, "sweep_wanted": False}, "sweep", "sweep is off", "stp-etl resend"),
        ({"breaks": (A_BREAK,)}, "break", "status break 3 is accepted and names trade FXI1", "stp-etl breaks show 3"),
        ({"exceptions": (9,)}, "exception", "message 9", "stp-etl exceptions show 9"),
        ({"controls": (Control("positions", True),)}, "positions", "not compared", "stp-etl reconcile positions"),
        ({"controls": (Control("fills", True, 8, CLOSE, "query_failed"),)}, "fills", "query_failed", "reconcile fills"),
        ({"controls": (Control("positions", True, 8, CLOSE, "breaks", False, (A_BREAK,)),)}, "positions",
         "have not agreed", "stp-etl breaks show 3"),
    ],
)  # fmt: skip
def test_each_condition_that_does_not_hold_is_a_reason_with_a_command(change, reason, word, command):
    state, (found,) = judge(msgspec.structs.replace(COMPLETE, **change))

    assert state is CertificateState.INCOMPLETE
    assert found.reason == reason
    assert word in found.detail
    assert command in found.command


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"now": CLOSE - timedelta(seconds=1)}, "not_closed"), ({"proven_at": None}, "not_drained")],
)
def test_a_day_that_is_not_over_or_not_drained_is_preliminary_whatever_else_holds(change, reason):
    state, reasons = judge(msgspec.structs.replace(COMPLETE, unbooked=1, **change))

    assert state is CertificateState.PRELIMINARY
    assert [each.reason for each in reasons] == [reason, "not_booked"]
