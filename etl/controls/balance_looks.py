"""One look at the vendor's balances between two proven-empty drains, and what each account and asset says in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

import msgspec
import structlog

from etl.controls.balance_judge import BalanceScope, Held, Judge
from etl.controls.looks import NotDrained
from etl.controls.questions import Asked, Asker, Drain, Proof, Unanswered, body_of
from etl.domain.ageing import business_day
from etl.domain.balance import (
    NOTHING_MOVED,
    ZERO,
    BalanceDifference,
    BalanceKey,
    Expectation,
    Flows,
)
from etl.domain.balance_answer import (
    BalanceAnswer,
    BalanceFault,
    TransferAnswer,
    balances_in,
    transfers_in,
)
from etl.domain.calendar import DATED_AHEAD, weekday_from
from etl.domain.money import EXACT
from etl.domain.position_answer import Unreadable
from etl.store.repositories.balances import BROKER, StoredOpening
from etl.store.unit_of_work import UnitOfWork
from etl.vendor.feed import VendorQuestions

HISTORY = timedelta(days=31)
"""How far back transfers are asked for; further where one of them may still change, or nobody asked for long."""
AHEAD = timedelta(days=1)
"""The vendor's clock may be ahead of ours."""

log = structlog.get_logger()


class BalanceLook(msgspec.Struct, frozen=True):
    """What one look showed. `unsettled`: a trade landed meanwhile; `undecided`: it cannot be told, `faults` say why.

    `unknown`: those of them whose asset neither the vendor nor the book knows.
    """

    answer: BalanceAnswer
    reply_id: int
    as_of: datetime
    vendor_date: datetime | None
    drained: tuple[Proof, Proof]
    held: Held
    expected: Mapping[BalanceKey, Expectation]
    agreed: frozenset[BalanceKey]
    differing: Mapping[BalanceKey, BalanceDifference]
    unsettled: frozenset[BalanceKey]
    undecided: frozenset[BalanceKey]
    unopened: frozenset[BalanceKey]
    unknown: frozenset[BalanceKey]
    faults: tuple[str, ...]

    def theirs_of(self, key: BalanceKey) -> Decimal:
        """Return what the vendor named; a balance that it left out is zero (A15)."""
        return self.answer.rows.get(key, ZERO)

    def moved_of(self, key: BalanceKey) -> Flows:
        """Return what we know to have moved it, ever."""
        return self.held.flows.get(key, NOTHING_MOVED)


class BalanceLooker:
    """Looks at balances for one run."""

    def __init__(self, vendor: VendorQuestions, asker: Asker, drain: Drain) -> None:
        self._vendor, self._asker, self._drain = vendor, asker, drain
        self._feed, self._open_work, self._clock = asker.feed, asker.open_work, asker.clock

    def look(self, scope: BalanceScope) -> BalanceLook | NotDrained | Unanswered:
        """Drain and book, ask for transfers and balances, drain and book again, compare."""
        first = self._drain()
        if first is None:
            return NotDrained()
        transfer_faults = self._ask_transfers()
        if isinstance(transfer_faults, Unanswered):
            return transfer_faults
        with self._open_work() as work:
            before = self._held(work, scope)
        as_of = self._clock.now()
        asked = self._ask(scope)
        if isinstance(asked, Unanswered):
            return asked
        answer, reply = asked
        second = self._drain()
        if second is None:
            return NotDrained()
        with self._open_work() as work:
            held = self._held(work, scope)
            strange = work.transfers.unknown_statuses(scope.counting)
        for direction, number, asset, status in strange:
            log.warning(
                "reconcile.unknown_status", feed=self._feed.name, transfer=f"{direction} {number}", asset=asset,
                status=status,
            )  # fmt: skip
        found = Judge(scope, answer, transfer_faults, before, held)
        found.judge()
        said = [_said(each) for each in (*answer.faults, *transfer_faults) if _concerns(each, scope)]
        said += [f"{kind} {number} of {asset} has status {status}: ignored" for kind, number, asset, status in strange]
        return BalanceLook(
            answer, reply.citation.reply_id, as_of, reply.reply.vendor_date, (first, second), held, found.expected,
            frozenset(found.agreed), found.differing, frozenset(found.unsettled), frozenset(found.undecided),
            frozenset(found.unopened), frozenset(found.unknown), (*said, *found.faults),
        )  # fmt: skip

    def _ask(self, scope: BalanceScope) -> tuple[BalanceAnswer, Asked] | Unanswered:
        """Ask for all balances at once: figures of one instant. A 404 proves nothing (law 10)."""
        broker = scope.level == BROKER
        call = self._vendor.broker_balances if broker else self._vendor.balances
        asked = self._asker.ask("balances", scope.name, call)
        if isinstance(asked, Unanswered):
            return asked
        body = body_of(asked, f"the balances of {scope.name}")
        if isinstance(body, Unanswered):
            return body
        if body is None:
            return BalanceAnswer({}), asked
        read = balances_in(body, orgs=self._feed.orgs if broker else None)
        if isinstance(read, Unreadable):
            return Unanswered(f"the answer about the balances of {scope.name} cannot be read: {read.why}")
        return msgspec.structs.replace(
            read, rows={key: each for key, each in read.rows.items() if key.asset in scope.counting.assets}
        ), asked

    def _ask_transfers(self) -> list[BalanceFault] | Unanswered:
        """Ask for deposits and withdrawals and keep them; return the rows that cannot be relied on."""
        faults: list[BalanceFault] = []
        for subject, direction, call in (
            ("deposits", "deposit", self._vendor.deposits), ("withdrawals", "withdrawal", self._vendor.withdrawals),
        ):  # fmt: skip
            start, end = self._period(subject, direction)
            words = f"{start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}"
            asked = self._asker.ask(subject, words, partial(call, start, end))
            if isinstance(asked, Unanswered):
                return asked
            body = body_of(asked, f"the {subject}")
            if isinstance(body, Unanswered):
                return body
            read = TransferAnswer(()) if body is None else transfers_in(body, has_fee=direction == "withdrawal")
            if isinstance(read, Unreadable):
                return Unanswered(f"the answer about the {subject} cannot be read: {read.why}")
            faults += read.faults
            with self._open_work() as work:
                work.transfers.note(
                    self._feed.feed_id, direction, read.transfers, at=self._clock.now(),
                    reply_id=asked.citation.reply_id,
                )  # fmt: skip
                work.commit()
        return faults

    def _period(self, subject: str, direction: str) -> tuple[datetime, datetime]:
        now = self._clock.now()
        with self._open_work() as work:
            unfinished = work.transfers.unfinished_since(self._feed.feed_id, direction)
            answered = work.transfers.last_answered(self._feed.feed_id, subject)
        starts = [now - HISTORY, *(each - AHEAD for each in (unfinished, answered) if each is not None)]
        return min(starts), now + AHEAD

    def _held(self, work: UnitOfWork, scope: BalanceScope) -> Held:
        """Return what we know to have moved balances, less what the openings had although we learnt it later."""
        flows = dict(work.balances.legs(scope.counting))
        for opening in {each.opening_id: each for each in scope.opened.values()}.values():
            for key, amount in self._counted_before(work, scope, opening).items():
                start = scope.opening_of(key)
                if start is not None and start.opening_id == opening.opening_id:
                    flows[key] = EXACT.subtract(flows.get(key, ZERO), amount)
        transfers, nameless = work.transfers.sums(scope.counting, self._feed.login_org)
        keys = flows.keys() | transfers.keys()
        moved = {
            key: msgspec.structs.replace(transfers.get(key, NOTHING_MOVED), legs=flows.get(key, ZERO)) for key in keys
        }
        until, adjustments, adjusted = self._clock.now(), dict[BalanceKey, Decimal](), 0
        for key in keys | scope.opened.keys():
            start = scope.opening_of(key)
            if start is not None:
                amount, count = work.balances.adjusted(self._feed.feed_id, key, start.as_of, until)
                adjustments[key], adjusted = amount, adjusted + count
        return Held(moved, adjustments, adjusted, nameless)

    def _counted_before(
        self, work: UnitOfWork, scope: BalanceScope, opening: StoredOpening
    ) -> Mapping[BalanceKey, Decimal]:
        day = weekday_from(business_day(opening.as_of, self._feed.ends, self._feed.zone))
        counting = msgspec.structs.replace(scope.counting, day=day)
        return work.balances.counted_before(
            counting, opening.as_of, opening.vendor_date or opening.as_of, day + DATED_AHEAD
        )


def _said(fault: BalanceFault) -> str:
    return fault.why if fault.key is None else f"{' '.join(filter(None, fault.key))}: {fault.why}"


def _concerns(fault: BalanceFault, scope: BalanceScope) -> bool:
    return fault.key is None or fault.key.asset in scope.counting.assets
