"""Finds out why a position differs, keeps each step as evidence, and says what a person is to do (design.md §6)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from threading import Event
from typing import Any

import msgspec
import structlog

from etl.clock import Clock
from etl.controls.adoption import Adopt
from etl.controls.inquiry import Inquirer, Learned, left_of
from etl.controls.missing import note_missing
from etl.controls.position_gap import Asking, ask_days, other_losses
from etl.controls.questions import Asker, Drain, ReconciledFeed
from etl.domain.explanation import PERHAPS, Candidate, moved, suggested
from etl.domain.gaps import GapState
from etl.domain.reconciliation import BreakKind, BreakState, Finding
from etl.store.repositories.investigating import ConfirmedBreak, KeyTrade
from etl.store.unit_of_work import OpenWork, UnitOfWork
from etl.vendor.feed import VendorQuestions

UNDER_WAY = (GapState.OPEN, GapState.WAITING, GapState.RESENDING)
NAMED = 10  # trades named in one sentence

log = structlog.get_logger()


class Investigated(msgspec.Struct):
    """What came of one round: breaks that are new or changed, and the levels whose figures may be others now."""

    changed: list[int] = []
    levels: list[tuple[str, str]] = []


class Conclusion(msgspec.Struct, frozen=True):
    """What was found about a break, as a sentence, what a person is to do, and the state that this leaves it in."""

    found: str
    do: str
    state: BreakState
    explained_by: str | None = None
    gap_id: int | None = None


class Investigator:
    """Investigates the position breaks of one feed, once for the same facts.

    The orders and trades of the position are asked before its days are asked for again, because they cost nothing
    of the queue; a gap is opened only for what is not explained otherwise (design.md §4).
    """

    def __init__(
        self, feed: ReconciledFeed, vendor: VendorQuestions, open_work: OpenWork, *, clock: Clock, drain: Drain,
        epoch: Callable[[], int], stop: Event, adopt: Adopt, adopts: bool,
    ) -> None:  # fmt: skip
        self._feed, self._vendor, self._open_work, self._clock = feed, vendor, open_work, clock
        self._drain, self._epoch, self._stop, self._adopt, self._adopts = drain, epoch, stop, adopt, adopts

    def run(self, runs: Collection[int]) -> Investigated:
        """Investigate the breaks that these runs confirmed. Raises FenceLostError where another instance leads."""
        with self._open_work() as work:
            waiting, last = work.investigating.confirmed(self._feed.feed_id, runs), work.investigating.last_reply()
        done = Investigated()
        asker = Asker(self._feed, self._open_work, self._clock, max(runs, default=None))
        inquirer = Inquirer(
            self._feed, self._vendor, self._open_work, clock=self._clock, stop=self._stop, adopt=self._adopt,
            asker=asker,
        )  # fmt: skip
        for found in waiting:
            with self._open_work() as work:
                trades = [
                    work.investigating.trades_of(self._feed.feed_id, found.level, found.level_value, key)
                    for key in found.keys
                ]
                facts = self._facts(work, found, trades, found.gap_id)
            if (found.investigation or {}).get("facts") == facts:
                continue
            after = went_on_from(found, last)
            learned = inquirer.learn(found.difference, trades[0], after)
            if learned.missing and self._drain() is None:
                learned.failure = "the queue was not proven empty in time"
                learned.missing.clear()
            done.changed += self._conclude(found, trades, learned, run_id=max(runs), after=after)
            if (found.level, found.level_value) not in done.levels:
                done.levels.append((found.level, found.level_value))
        return done

    def _facts(
        self, work: UnitOfWork, found: ConfirmedBreak, trades: Sequence[Sequence[KeyTrade]], gap_id: int | None
    ) -> str:
        """Return a hash of all that an investigation starts from: the same facts are not looked into twice."""
        others = other_losses(work, self._feed, gap_id, at=self._clock.now())
        gap = None if gap_id is None else work.gaps.find(gap_id)
        phase = None if gap is None else "under way" if gap.state in UNDER_WAY else gap.state
        facts = (
            f"{found.difference:f}", sorted((each.trade_id, each.version) for of_key in trades for each in of_key),
            others, phase,
        )  # fmt: skip
        return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()

    def _conclude(
        self,
        found: ConfirmedBreak,
        trades: Sequence[Sequence[KeyTrade]],
        learned: Learned,
        *,
        run_id: int,
        after: int,
    ) -> list[int]:
        """Write what was learned, its steps, and what follows from it, in one commit; return new or changed breaks."""
        at, left = self._clock.now(), left_of(found.difference, trades[0], learned)
        with self._open_work() as work:
            work.feeds.hold_fence(self._feed.feed_id, self._epoch())
            work.breaks.lock(self._feed.feed_id)
            since = self._feed.recent_since(self._clock)
            changed = note_missing(work, self._feed, learned.missing, at=at, run_id=run_id, since=since)
            conclusion = self._concluded(work, found, trades, learned, left)
            changed += self._name_trades(work, learned, run_id)
            before = found.investigation or {}
            if learned.failure is None or before.get("failure") != learned.failure:
                for note, figures, reply_id in steps_of(found, learned, left, trades[0], conclusion):
                    work.breaks.event(
                        found.id, "step", at=at, note=note, figures=figures, run_id=run_id, reply_id=reply_id
                    )  # fmt: skip
            facts: dict[str, Any] = {"facts": self._facts(work, found, trades, conclusion.gap_id)}
            if learned.failure is not None:
                facts = {"after": after, "difference": f"{found.difference:f}"}
            told = {"found": conclusion.found, "do": conclusion.do, "failure": learned.failure}
            work.breaks.change(
                found.id, state=conclusion.state, investigated_at=at, explained_by=conclusion.explained_by,
                gap_id=conclusion.gap_id, investigation=told | facts,
            )  # fmt: skip
            work.commit()
        log.info(
            "break.investigated", feed=self._feed.name, break_id=found.id, orders=learned.orders, trades=learned.trades,
            found=conclusion.found,
        )  # fmt: skip
        return changed

    def _concluded(
        self, work: UnitOfWork, found: ConfirmedBreak, trades: Sequence[Sequence[KeyTrade]], learned: Learned,
        left: Decimal,
    ) -> Conclusion:  # fmt: skip
        """Return what follows; the days are asked for again only where nothing else explains the difference."""
        names = [f"{trade_id} is {said.fill.status}" for trade_id, said in learned.ended.items()]
        if learned.ended and not left:
            words = f"explained to the last digit: {listed(names)}"
            do = "nothing: compared again as soon as these are booked so; they wait for you as `status` breaks"
            if not self._adopts:
                do = "let the vendor's word be booked: stp-etl breaks resolve --adopt, for each `status` break"
            state = BreakState.INVESTIGATING if self._adopts else BreakState.OPEN
            return Conclusion(words, do, state, listed(names), found.gap_id)
        if learned.failure is not None:
            return Conclusion(
                f"not all could be asked: {learned.failure}", "nothing: the next run of positions goes on",
                BreakState.INVESTIGATING,
                gap_id=found.gap_id,
            )  # fmt: skip
        if learned.missing:
            words = f"the vendor names trades that the book lacks: {listed(learned.missing)}"
            do = "nothing: their days are asked for again; stp-etl gaps list"
            return Conclusion(words, do, BreakState.INVESTIGATING, listed(learned.missing), found.gap_id)
        waits = other_losses(work, self._feed, found.gap_id, at=self._clock.now())
        asking = ask_days(work, self._feed, found, at=self._clock.now())
        perhaps = None if waits or asking.under_way else suggestion(found, trades, left, learned)
        return told(found, learned, names, perhaps, asking)

    def _name_trades(self, work: UnitOfWork, learned: Learned, run_id: int) -> list[int]:
        """Open the break of each trade that stands no more, or that stands with other economics."""
        findings = [
            (Finding(
                BreakKind.STATUS, trade_id, f"the vendor says {each.fill.status}", trade_id=trade_id,
                figures={"status": each.fill.status, "replaced_by": list(each.fill.replaced_by)},
            ), each.reply_id)
            for trade_id, each in learned.ended.items()
        ] + [
            (Finding(
                BreakKind.CONFLICT, trade_id, f"asked about it, the vendor says other {listed(each.changed)}",
                trade_id=trade_id, figures={"changed_fields": list(each.changed)},
            ), each.reply_id)
            for trade_id, each in learned.otherwise.items()
        ]  # fmt: skip
        changed = list[int]()
        for finding, reply_id in findings:
            noted = work.breaks.found(
                self._feed.feed_id, finding, at=self._clock.now(), run_id=run_id, reply_id=reply_id
            )  # fmt: skip
            changed += [noted.id] if noted.change != "same" else []
        return changed


def went_on_from(found: ConfirmedBreak, last: int) -> int:
    """Return the stored answer after which this difference is looked into: `last`, or earlier where a run broke off."""
    before = found.investigation or {}
    same = before.get("difference") == f"{found.difference:f}"
    return int(before["after"]) if same and "after" in before else last


def told(
    found: ConfirmedBreak, learned: Learned, names: Sequence[str], perhaps: str | None, asking: Asking
) -> Conclusion:
    """Return the conclusion about a difference that the vendor's answers alone do not explain."""
    parts = [f"{listed(names)}, which is not all of it"] if names else []
    if learned.otherwise:
        parts.append(f"the vendor says other economics of {listed(learned.otherwise)}; see their `conflict` breaks")
    if perhaps is not None:
        parts.append(f"{PERHAPS}{perhaps}")
    words = "; ".join(parts) or "no trade of ours that the vendor was asked about explains it"
    explained = "; ".join(parts) or None
    if asking.under_way:
        return Conclusion(words, f"nothing yet: {asking.why}", BreakState.INVESTIGATING, explained, asking.gap_id)
    do = f"look at it, ask the vendor, then: stp-etl breaks accept or resolve {found.id}; {asking.why}"
    return Conclusion(words, do, BreakState.OPEN, explained, asking.gap_id)


def suggestion(
    found: ConfirmedBreak, trades: Sequence[Sequence[KeyTrade]], left: Decimal, learned: Learned
) -> str | None:
    """Return the only one or two trades that would explain what is left, as a sentence; None where there are none."""
    of_keys = [
        [Candidate(each.trade_id, each.amount) for each in of_key if each.trade_id not in learned.ended]
        for of_key in trades
    ]
    if found.kind == BreakKind.VALUE_DATE_SHIFT and len(of_keys) == 2:
        trade_id = moved(left, *of_keys)
        return None if trade_id is None else f"both sides would agree with {trade_id} on the other value date"
    fitting = suggested(left, of_keys[0])
    return None if fitting is None else fitting.words


def steps_of(
    found: ConfirmedBreak, learned: Learned, left: Decimal, trades: Sequence[KeyTrade], conclusion: Conclusion
) -> list[tuple[str, Mapping[str, Any], int | None]]:
    """Return the steps that were taken: a sentence, its figures, and the vendor's stored answer."""
    figures = {"difference": f"{found.difference:f}", "trades": len(trades)}
    steps: list[tuple[str, Mapping[str, Any], int | None]] = [
        ("looked again: two looks showed the same, and no trade landed on it between", figures, None)
    ]
    asked = {"orders": learned.orders, "trades_by_id": learned.trades, "answered_404": learned.unknown[:NAMED]}
    lacking = f"; it names trades that we lack: {listed(learned.missing)}" if learned.missing else ""
    steps.append((f"asked the vendor about the orders and trades of this position{lacking}", asked, None))
    for trade_id, said in {**learned.ended, **learned.otherwise}.items():
        amount = next((f"{each.amount:f}" for each in trades if each.trade_id == trade_id), None)
        note = f"{trade_id}: the vendor says {said.fill.status or 'no status'}"
        note += f", replaced by {listed(said.fill.replaced_by)}" if said.fill.replaced_by else ""
        note += f", with other {listed(said.changed)}" if said.changed else ""
        steps.append((note, {"trade_id": trade_id, "adds": amount, "status": said.fill.status}, said.reply_id))
    steps.append((conclusion.found, {"left": f"{left:f}", "gap_id": conclusion.gap_id}, None))
    return [*steps, (f"to do: {conclusion.do}", {}, None)]


def listed(names: Collection[str]) -> str:
    """Return names as part of a sentence, the first few of many."""
    some = list(names)[:NAMED]
    more = len(names) - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "")
