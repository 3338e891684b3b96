"""Looks for the one or two booked trades that explain a difference of positions to the last digit (design.md §6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from etl.domain.money import EXACT

MOST_CANDIDATES = 5_000
"""More are not searched: pairs of so many would fit by chance."""

PERHAPS = "perhaps: "
"""How a suggestion begins where it is told; it comes last, after what is known."""


class Candidate(msgspec.Struct, frozen=True):
    """A booked trade, and what it adds to a position: major units of the base currency, + received, - paid."""

    trade_id: str
    amount: Decimal


class Suggestion(msgspec.Struct, frozen=True):
    """Trades that would explain the difference: those that the vendor does not count, and those it counts twice."""

    removed: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Return it as a sentence for a person."""
        parts = [f"without {' and '.join(self.removed)}"] if self.removed else []
        parts += [f"with {' and '.join(self.doubled)} twice"] if self.doubled else []
        return f"both sides would agree {' and '.join(parts)}, and no other one or two trades explain it"


def suggested(difference: Decimal, candidates: Iterable[Candidate]) -> Suggestion | None:
    """Return the only one or two trades whose removal or doubling makes `difference` (theirs minus ours) nothing.

    One trade is tried before two. None where nothing fits, where it is not the only one, or where there are more
    candidates than MOST_CANDIDATES. Takes time in proportion to their number.
    """
    considered = [each for each in candidates if each.amount]
    if not difference or len(considered) > MOST_CANDIDATES:
        return None
    by_amount: defaultdict[Decimal, list[str]] = defaultdict(list)
    for each in considered:
        by_amount[each.amount].append(each.trade_id)
    singles = [Suggestion(removed=(each,)) for each in by_amount.get(difference.copy_negate(), ())]
    singles += [Suggestion(doubled=(each,)) for each in by_amount.get(difference, ())]
    if singles:
        return singles[0] if len(singles) == 1 else None
    pairs = _pairs(difference, considered, by_amount)
    return pairs[0] if len(pairs) == 1 else None


def moved(difference: Decimal, first: Iterable[Candidate], second: Iterable[Candidate]) -> str | None:
    """Return the only trade that explains two opposite differences if the vendor has it on the other value date.

    `difference` is that of the first value date; the candidates are those of either date.
    """
    found = [each.trade_id for each in first if each.amount == difference.copy_negate()]
    found += [each.trade_id for each in second if each.amount == difference]
    return found[0] if difference and len(found) == 1 else None


def _pairs(
    difference: Decimal, considered: Sequence[Candidate], by_amount: Mapping[Decimal, Sequence[str]]
) -> list[Suggestion]:
    """Return up to two pairs that fit; the second one only shows that the first is not the only one."""
    found: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for each in considered:
        fitting = [
            ((True, True), EXACT.subtract(difference.copy_negate(), each.amount)),  # both removed
            ((False, False), EXACT.subtract(difference, each.amount)),  # both doubled
            ((True, False), EXACT.add(difference, each.amount)),  # this one removed, the other doubled
        ]
        for (this_removed, other_removed), amount in fitting:
            others = [other for other in by_amount.get(amount, ())[:3] if other != each.trade_id]
            for other in others[:2]:
                if this_removed == other_removed:
                    both = tuple(sorted((each.trade_id, other)))
                    found.add((both, ()) if this_removed else ((), both))
                else:
                    found.add(((each.trade_id,), (other,)))
        if len(found) > 1:
            break
    return [Suggestion(removed, doubled) for removed, doubled in sorted(found)]
