"""What one run of the fills control has learned, and what of it stays unproven (law 10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import msgspec

from etl.controls.missing import Missing
from etl.domain.fills_answer import Fill

NAMED = 5  # ids in a sentence


class Seen(msgspec.Struct):
    """What one run has learned so far. `known_orders`: how many there are to ask about; `selected`: of this run."""

    known_orders: int
    selected: int
    before: tuple[str, ...]
    """Trades that were missing at the vendor before: they are asked about again."""
    missing: dict[str, Missing] = {}
    left_out: dict[str, str] = {}
    """Ours that the vendor's list lacks: trade -> order."""
    listed: set[str] = set()
    """Trades that the vendor named in this run."""
    statuses: dict[str, tuple[Fill, int]] = {}
    """Trades of ours that stand no more, with the answer that says so."""
    unknown: dict[str, int] = {}
    """Trades about which the vendor said 404, with that answer."""
    proves_nothing: set[str] = set()
    """Trades with a 404 where no known trade was answered."""
    read: set[str] = set()
    """Orders whose list was read whole."""
    unread: list[str] = []
    """Questions whose answer cannot be read, or not whole."""
    doubtful: set[str] = set()
    """Orders whose list cannot be read, or not whole."""
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    """Orders by what came of them."""
    stopped: bool = False
    failure: str | None = None

    @property
    def wanted(self) -> list[str]:
        """Return the trades to ask about by id, each once."""
        return list(dict.fromkeys([*self.before, *self.left_out]))

    @property
    def asked(self) -> int:
        """Return how many orders were asked and answered, whatever the answer."""
        return self.outcomes.total()

    @property
    def unsettled(self) -> set[str]:
        """Return the trades to ask about by id of which the vendor has not told what they are."""
        return set(self.wanted) - self.listed - self.statuses.keys() - self.unknown.keys()

    @property
    def compared(self) -> int:
        """Return how many orders were compared: by their list, or each trade that it lacks by its id."""
        open_orders = {self.left_out[each] for each in self.unsettled if each in self.left_out} | self.doubtful
        return len((self.read | set(self.left_out.values())) - open_orders)

    def unproven(self) -> str:
        """Return what this run could not prove, and what to do about it; nothing where it proved what it asked."""
        unasked = self.unsettled - self.proves_nothing - {each.removeprefix("trade ") for each in self.unread}
        return "; ".join(
            words
            for holds, words in (
                (self.stopped, "the run was stopped; the next one goes on"),
                (
                    self.selected and not self.read and not self.stopped,
                    f"no list of {self.asked} orders could be read, and a 404 proves nothing; "
                    "ask the vendor whether GET /v2/trades?orderId= is open to this user",
                ),
                (
                    self.proves_nothing,
                    f"404 for {_named(self.proves_nothing)}, and for a known trade no answer either; "
                    "ask the vendor whether GET /v2/trades/ID is open to this user",
                ),
                (
                    self.unread,
                    f"the answer cannot be read to {_named(self.unread)}; the vendor finds it by the request_id in "
                    "reporting.reconciliation_run",
                ),
                (
                    unasked and not self.stopped and not self.proves_nothing,
                    f"lists lack {_named(unasked)}, and calls_per_run left no question about it; raise it",
                ),
            )
            if holds
        )

    def counts(self) -> dict[str, int]:
        """Return the orders by what came of them; and the trades with a 404 that proves nothing."""
        return {**self.outcomes, **({"nothing_proven": len(self.proves_nothing)} if self.proves_nothing else {})}

    def scope(self) -> str:
        """Return how many orders were asked where it were not all of them; else nothing."""
        if self.asked >= self.known_orders:
            return ""
        return f"asked {self.asked} of {self.known_orders} orders; the next run goes on"


def _named(what: Collection[str]) -> str:
    first = sorted(what)[:NAMED]
    return ", ".join(first) + (f" and {len(what) - NAMED} more" if len(what) > NAMED else "")
