"""All controls of one feed together: what is asked in which order, and what each finding weighs (design.md §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock

import msgspec
import structlog

from etl.clock import Clock
from etl.controls.adoption import Adopt, AdoptionControl
from etl.controls.balances import BalanceControl
from etl.controls.fills import FillsControl
from etl.controls.investigation import Investigated, Investigator
from etl.controls.overdue import OverdueControl
from etl.controls.positions import PositionControl
from etl.controls.questions import Asker, Drain, Order, Outcome, ReconciledFeed, Unanswered
from etl.controls.severity import Weigher, Worth
from etl.domain.position_answer import Unreadable
from etl.domain.rates import digits_in
from etl.domain.reconciliation import Rules
from etl.store.unit_of_work import OpenWork
from etl.vendor.feed import VendorQuestions

ASSETS_KEPT = timedelta(days=1)
MOST_ROUNDS = 3  # of an investigation, each after the book has changed

log = structlog.get_logger()


class Reconciler:
    """Runs the controls of one feed, one run at a time."""

    def __init__(
        self, feed: ReconciledFeed, vendor: VendorQuestions, open_work: OpenWork, *, clock: Clock, drain: Drain,
        epoch: Callable[[], int], stop: Event, adopt: Adopt, adopt_status: bool = True,
        terms: Worth = Worth(), stale_after_s: float = 300.0,  # noqa: B008
    ) -> None:  # fmt: skip
        self.feed, self._vendor, self._open_work, self._clock = feed, vendor, open_work, clock
        self._positions = PositionControl(
            feed, vendor, open_work, clock=clock, drain=drain, epoch=epoch, stop=stop
        )  # fmt: skip
        self._fills = FillsControl(feed, vendor, open_work, clock=clock, drain=drain, epoch=epoch, stop=stop)
        self._balances = BalanceControl(feed, vendor, open_work, clock=clock, drain=drain, epoch=epoch, stop=stop)
        self._overdue = OverdueControl(feed, open_work, clock, stale_after_s=stale_after_s)
        self._adoption = AdoptionControl(
            feed, vendor, open_work, clock=clock, epoch=epoch, adopt=adopt, by_itself=adopt_status
        )  # fmt: skip
        self._investigator = Investigator(
            feed, vendor, open_work, clock=clock, drain=drain, epoch=epoch, stop=stop, adopt=adopt,
            adopts=adopt_status,
        )  # fmt: skip
        self._weigher = Weigher(feed, vendor, open_work, clock, terms)
        self._running = Lock()

    def positions(self, order: Order, *, entities: bool = False, opening: bool = False) -> list[Outcome]:
        """Compare the positions at the level of the settings, and of whatever has breaks that are not over.

        With `entities`, and with `opening`, of each legal entity too. The level of the settings is told first.
        """
        with self._round():
            rules = self._rules()
            outcomes = [
                self._positions.run(level, value, rules=rules, order=order, opening=opening)
                for level, value in self._positions.subjects(entities=entities or opening)
            ]
            self._weigh(outcomes)
        first = f"{self._positions.name} {self.feed.level} "
        return sorted(outcomes, key=lambda each: not each.subject.startswith(first))

    def fills(self, order: Order) -> list[Outcome]:
        """Ask the orders with recent trades for their fills."""
        with self._round():
            outcomes = [self._fills.run(order)]
            self._adoption.run(outcomes[0].run_id)
            self._weigh(outcomes)
        return outcomes

    def investigate(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Find out why positions differ; compare again what adopting the vendor's word has changed, and return that.

        To be called with the outcomes of `positions`, before anything else is booked.
        """
        more, runs = list[Outcome](), _differing(outcomes)
        with self._round():
            rules = self._rules() if runs else self.feed.rules
            for _ in range(MOST_ROUNDS):
                found = self._investigator.run(runs) if runs else Investigated()
                if not found.levels:
                    break
                adopted = self._adoption.run(max(runs))
                self._weigher.weigh(found.changed, max(runs))
                if not adopted:
                    break
                again = [
                    self._positions.run(level, value, rules=rules, order=Order("investigation"))
                    for level, value in found.levels
                ]
                self._weigh(again)
                more, runs = [*more, *again], _differing(again)
        return more

    def balances(self, order: Order, *, opening: bool = False) -> list[Outcome]:
        """Compare the balances of `balance_assets`; nothing where none are named."""
        with self._round():
            levels = self._balances.levels
            rules = self._rules() if levels else self.feed.rules
            outcomes = [self._balances.run(level, rules=rules, order=order, opening=opening) for level in levels]
            self._weigh(outcomes)
        return outcomes

    def adopt(self) -> int:
        """Adopt what `status` breaks say, as far as law 9 lets it by itself; return how many trades."""
        with self._round():
            return len(self._adoption.run())

    def overdue(self) -> int:
        """Look at what the calendar and the clock say; return how many breaks are new or changed.

        Breaks that booking or a resend opened are weighed with them: neither asks the vendor for rates.
        """
        changed = self._overdue.look()
        with self._open_work() as work:
            unweighed = work.investigating.unweighed(self.feed.feed_id)
        if changed or unweighed:
            with self._round():
                self._weigher.weigh({*changed, *unweighed}, run_id=None)
        return len(changed)

    @contextmanager
    def _round(self) -> Iterator[None]:
        """Run nothing else beside, and weigh what is found by the same rates."""
        with self._running:
            self._weigher.forget_rates()
            yield

    def _weigh(self, outcomes: list[Outcome]) -> None:
        for each in outcomes:
            self._weigher.weigh(each.changed, each.run_id)

    def _rules(self) -> Rules:
        """Return the rules with the vendor's own digits, asked once a day; without them ISO 4217 stands (A18)."""
        with self._open_work() as work:
            body = work.reconciling.last_body(self.feed.feed_id, "assets", self._clock.now() - ASSETS_KEPT)
        if body is None:
            asked = Asker(self.feed, self._open_work, self._clock, None).ask("assets", "all", self._vendor.assets)
            body = None if isinstance(asked, Unanswered) or asked.reply.status != 200 else asked.reply.body
        digits = {} if body is None else digits_in(body)
        if isinstance(digits, Unreadable):
            log.warning("reconcile.unreadable", feed=self.feed.name, question="assets", why=digits.why)
            digits = {}
        return msgspec.structs.replace(self.feed.rules, vendor_digits=digits)


def _differing(outcomes: Sequence[Outcome]) -> list[int]:
    """Return the runs of positions that ended with breaks."""
    return [each.run_id for each in outcomes if each.control == "positions" and each.result == "breaks"]
