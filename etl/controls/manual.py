"""An operator's own request: a gap that is asked for at once, kept with who wanted it and why (law 13)."""

from __future__ import annotations

from datetime import datetime

import msgspec

from etl.domain.gaps import GapCause
from etl.domain.window import Window
from etl.errors import OperatorError
from etl.store.repositories.attention import Deed
from etl.store.unit_of_work import UnitOfWork

LONGEST_DAYS = 366


class ManualRequest(msgspec.Struct, frozen=True):
    """What an operator wants to be handed out again. The same `key` twice is the same request."""

    feed: str
    window: Window
    operator: str
    reason: str
    key: str | None = None
    deed: str = "resend"
    anew: bool = False
    """Whether a gap is opened even where an operator's is open over the same days: what it proved may be void."""


def open_by_hand(work: UnitOfWork, feed_id: int, request: ManualRequest, at: datetime) -> tuple[int, bool]:
    """Open the gap that the request asks for, and wake the leader; return its number, and whether it is new.

    Without a key a gap of an operator that is open over exactly these days is the one that is meant. Raises
    OperatorError when the key was used for something else.
    """
    evidence = {"at": at.isoformat(), "by": request.operator, "reason": request.reason}
    if request.key is not None:
        work.gaps.lock_key(request.key)
    if request.key is not None and (known := work.gaps.find_request(request.key)) is not None:
        asked = Window.of(known["from_date"], known["to_date"])
        if known["feed_id"] != feed_id or asked != request.window:
            raise OperatorError(
                f"request id {request.key} was used before, for {asked.start} to {asked.last} (gap {known['id']}); "
                "choose another one"
            )
        return int(known["id"]), False
    work.gaps.lock(feed_id)
    known_id = None
    if request.key is None and not request.anew:
        known_id = work.measures.unfinished_by_hand(feed_id, request.window)
    gap_id = known_id or work.gaps.open(
        feed_id, GapCause.OPERATOR, request.window, at=at, not_before=at, evidence=evidence, alone=True
    )
    if known_id is None and request.key is not None:
        work.gaps.change(gap_id, request_key=request.key)
    work.requests.announce(feed_id)
    details = {"from": request.window.start.isoformat(), "to": request.window.last.isoformat(), "key": request.key}
    work.attention.record(
        Deed(at, request.operator, request.deed, request.reason, request.feed, f"gap {gap_id}", details)
    )
    return gap_id, known_id is None
