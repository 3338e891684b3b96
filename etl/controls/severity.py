"""How much breaks matter: their amounts in the reporting currency at the vendor's rate (design.md §6)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from decimal import Decimal

import msgspec

from etl.clock import Clock
from etl.controls.questions import Asker, ReconciledFeed, Unanswered
from etl.domain.ageing import severity
from etl.domain.position_answer import Unreadable
from etl.domain.rates import Rate, rate_in, worth
from etl.domain.reconciliation import BreakKind, currencies
from etl.store.repositories.breaks import KnownBreak
from etl.store.unit_of_work import OpenWork
from etl.vendor.feed import VendorQuestions, VendorReply


class Worth(msgspec.Struct, frozen=True):
    """How amounts are weighed: reporting currency, its limits, and how old a rate may be."""

    currency: str = "USD"
    low_below: Decimal = Decimal(10_000)
    high_from: Decimal = Decimal(1_000_000)
    stale_after: timedelta = timedelta(hours=1)


class Weigher:
    """Gives breaks their amount in the reporting currency and their severity."""

    def __init__(
        self, feed: ReconciledFeed, vendor: VendorQuestions, open_work: OpenWork, clock: Clock, terms: Worth
    ) -> None:  # fmt: skip
        self._feed, self._vendor, self._open_work, self._clock, self._terms = feed, vendor, open_work, clock, terms
        self._rates: dict[str, Rate | str] = {}

    def forget_rates(self) -> None:
        """Ask for each rate anew: what was told holds for one round of comparisons."""
        self._rates.clear()

    def weigh(self, break_ids: Collection[int], run_id: int | None) -> None:
        """Weigh these breaks; where there is no honest rate, say why instead of an amount."""
        if not break_ids:
            return
        asker = Asker(self._feed, self._open_work, self._clock, run_id)
        with self._open_work() as work:
            found = [
                (each, self._amount(each, work.breaks.size_of_trade)) for each in work.breaks.known(None, ids=break_ids)
            ]
        for known, size in found:
            values = self._weighed(known, size, asker)
            with self._open_work() as work:
                work.breaks.change(known.id, **values)
                work.commit()

    def _amount(
        self, known: KnownBreak, size_of_trade: Callable[[int, str], tuple[str, Decimal] | None]
    ) -> tuple[str, Decimal] | None:
        """Return currency and size of a break: of its difference, in base before term, else of its trade."""
        if known.currency is not None and known.difference:
            return known.currency, abs(known.difference)
        if known.symbol is not None and known.difference_term:
            return currencies(known.symbol)[1], abs(known.difference_term)
        return size_of_trade(known.feed_id, known.trade_id) if known.trade_id is not None else None

    def _weighed(self, known: KnownBreak, size: tuple[str, Decimal] | None, asker: Asker) -> dict[str, object]:
        terms, kind = self._terms, BreakKind(known.kind)
        rate = None if size is None else self._rate(size[0], asker)
        amount, note, as_of = None, rate if isinstance(rate, str) else None, None
        if size is not None and isinstance(rate, Rate):
            as_of = rate.as_of
            if self._is_old(rate):
                note = f"the vendor's rate of {rate.base}/{rate.term} is of {rate.as_of:%Y-%m-%d %H:%MZ}: too old"
            else:
                amount = self._feed.rules.rounded(worth(size[1], size[0], rate), terms.currency)
        weight = severity(kind, amount, low_below=terms.low_below, high_from=terms.high_from)
        return {
            "reporting_amount": amount, "reporting_currency": terms.currency if amount is not None else None,
            "rate_as_of": as_of, "rate_note": note, "severity": weight,
        }  # fmt: skip

    def _rate(self, currency: str, asker: Asker) -> Rate | str:
        if currency not in self._rates:
            self._rates[currency] = self._asked_rate(currency, asker)
        return self._rates[currency]

    def _asked_rate(self, currency: str, asker: Asker) -> Rate | str:
        """Return the vendor's spot rate, else its benchmark, either way round; a sentence where it has none.

        One that is too old is returned only where there is no other: the newest of them.
        """
        ours, old = self._terms.currency, list[Rate]()
        if currency == ours:
            return Rate(ours, ours, Decimal(1), self._clock.now())
        for ask in (self._vendor.spot_rate, self._vendor.benchmark):
            for symbol in (f"{currency}/{ours}", f"{ours}/{currency}"):
                rate = self._ask(ask, symbol, asker)
                if rate is not None and not self._is_old(rate):
                    return rate
                old += [] if rate is None else [rate]
        newest = max(old, key=lambda each: each.as_of, default=None)
        return f"the vendor gives no rate of {currency} against {ours}" if newest is None else newest

    def _is_old(self, rate: Rate) -> bool:
        return self._clock.now() - rate.as_of > self._terms.stale_after

    def _ask(self, ask: Callable[[str], VendorReply], symbol: str, asker: Asker) -> Rate | None:
        asked = asker.ask("rate", symbol, lambda: ask(symbol))
        if isinstance(asked, Unanswered) or asked.reply.status != 200:
            return None
        read = rate_in(asked.reply.body, symbol)
        return None if isinstance(read, Unreadable) else read
