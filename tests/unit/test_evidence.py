"""What a gap says of itself: why it was doubted, why days were asked for again, why it is over."""

from datetime import UTC, date, datetime, timedelta

import pytest

from etl.domain.evidence import why_asked, why_doubted, why_ghost, why_healed, why_twice
from etl.domain.window import Window

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
AT = NOON.isoformat()
KILLED = {
    "at": AT, "poll_id": 143, "request_id": "r-143", "cause": "killed", "max_count": 50, "doubt_from": "2026-11-23",
    "oldest_landed": "2026-11-20", "lateness_days": 30, "today": "2026-11-24", "from": "2026-10-24", "to": "2026-11-28",
}  # fmt: skip


def told(evidence):
    return " ".join(why_doubted(evidence))


def a_resend(number, minute, first=1, last=1, **more):
    day = date(2026, 11, 1) - timedelta(days=1)
    return {
        "resend_id": number, "from_date": day + timedelta(days=first), "to_date": day + timedelta(days=last),
        "requested_at": NOON + timedelta(minutes=minute), "state": "complete", "detail": "proven by poll 7", **more,
    }  # fmt: skip


def test_a_poll_in_doubt_says_how_many_trades_it_may_have_carried_and_how_its_days_follow():
    assert why_doubted(KILLED) == (
        "Poll 143 (X-Request-ID r-143) is in doubt: its sender ended before the answer was known. The vendor may have "
        "handed out one page of at most 50 trades that we never got.",
        "Its trades may be of any day from the oldest of 2026-11-23 (the queue was last proven empty then; or days "
        "from then on were being asked again, or it never was empty before and history_days reach back to it), "
        "2026-11-20 (the oldest trade date that landed since), 2026-11-24 less 30 days "
        "(the greatest lateness of a trade seen in 90 days), less 1 day, to 4 days after 2026-11-24.",
        "That makes 36 days: 2026-10-24 to 2026-11-28.",
    )  # fmt: skip


def test_an_answer_of_an_error_is_told_by_its_status():
    assert "is in doubt: the vendor answered 503." in told(KILLED | {"cause": "http_503"})


def test_bytes_that_nobody_could_read_are_named_by_their_hash():
    assert "SHA-256 abc." in told(KILLED | {"cause": "unreadable", "unreadable": "abc"})


def test_evidence_of_before_the_page_size_was_kept_is_told_as_far_as_it_goes():
    old = {name: KILLED[name] for name in ("at", "poll_id", "request_id", "cause", "doubt_from")}

    assert "one page of trades that we never got" in told(old)
    assert "any day from 2026-11-23 (the queue was last proven empty then" in told(old)
    assert told(old).endswith("less 1 day.")


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"by": "olga", "reason": "br 17"}, "olga asks for these days: br 17"),
        ({"approved by": "olga", "reason": "br 17"}, "olga approved that more days are asked for: br 17"),
        ({"sweep": "closed trade date"}, "the closed trade date is asked for again in full"),
        ({"sweep": "polls in doubt up to 9"}, "polls in doubt up to 9 may have carried older trades"),
        ({"order_id": "O1", "trade_ids": ["T1"], "reply_id": 7}, "lists trade T1 under order O1 (answer 7)"),
        ({"break_id": 4, "key": "EUR/USD", "difference": "5.00"}, "Break 4 (EUR/USD): the vendor's position differs"),
        ({"cause": "timeline 1, now 2"}, "The database lost commits, or may have (timeline 1, now 2)"),
        ({"oldest_booked": "2026-11-02", "from": "2026-11-01"}, "a trade of 2026-11-02; the lost page may be as old"),
        ({"odd": 1, "more": "x"}, "odd 1; more x"),
    ],
)
def test_each_kind_of_evidence_is_a_sentence(evidence, words):
    assert words in told({"at": AT} | evidence)


def test_days_that_were_asked_for_once_need_no_reason():
    assert why_asked([a_resend(1, 0), a_resend(2, 1, 2, 2)], [KILLED]) == [None, None]


def test_days_without_a_held_trade_say_that_two_resends_must_agree():
    _, again = why_asked([a_resend(1, 0, 1, 5), a_resend(2, 2, 1, 5)], [KILLED])

    assert again == "we held no trade of these days, so two resends must agree: 1 was the first"


def test_days_that_a_doubt_in_between_reopened_say_so():
    doubt = KILLED | {"at": (NOON + timedelta(minutes=1)).isoformat()}

    _, again = why_asked([a_resend(1, 0, 1, 5), a_resend(2, 2, 3, 3)], [KILLED, doubt])

    assert again == "new evidence of 2026-11-23T12:01:00Z reopened these days"


def test_a_resend_that_fell_short_is_the_reason_for_the_next():
    short = a_resend(1, 0, state="short", detail="1 of 2 trades that we held did not come again")

    assert why_asked([short, a_resend(2, 2)], [])[1] == (
        "resend 1 ended as short: 1 of 2 trades that we held did not come again"
    )


def test_what_is_healed_says_what_came():
    window = Window.of(date(2026, 11, 1), date(2026, 11, 2))

    assert why_healed(window, resends=3, recovered=50, known=1200) == (
        "every day from 2026-11-01 to 2026-11-02 came again in full: 3 resends complete, 50 trades recovered, "
        "1200 known already"
    )
    assert why_healed(Window.of(window.start, window.start), resends=1, recovered=0, known=0).startswith(
        "2026-11-01 came again in full: 1 resend complete"
    )


def test_what_has_to_be_waited_for_is_named_with_its_instant():
    assert "the request r-1 was given up on and may still be executed until 2026-11-23T12:00:00Z" in why_ghost(
        "r-1", NOON
    )
    assert why_twice(NOON) == "they are asked for twice, the second time at 2026-11-23T12:00:00Z"
