"""Open positions, as the vendor nets them from the trades by its own code (A14)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from etl.sandbox.exact import Json, Verbatim
from etl.sandbox.market import PAIRS, WIDE, rounded
from etl.sandbox.trade import NON_DELIVERABLE, VERIFIED, Party, Trade, flows, parties, turned
from etl.sandbox.variants import Variants

LEVELS = ("ORG", "LE", "USER")
CHILD_LEVELS = {"ORG": "LE", "LE": "USER"}


@dataclass(frozen=True)
class PositionError:
    """A figure that the vendor gets wrong on purpose; the amounts are added to the true ones."""

    symbol: str
    value_date: date
    base: Decimal = Decimal(0)
    term: Decimal = Decimal(0)
    level: str | None = None
    """None: on every level."""
    value: str | None = None
    wire: Mapping[str, str | None] = field(default_factory=dict)
    """JSON texts that stand in the place of fields of the row, such as NaN; None leaves a field out."""
    twice: bool = False
    """The row stands twice."""

    @property
    def key(self) -> tuple[str, date]:
        """What it is about."""
        return self.symbol, self.value_date

    def concerns(self, scope: "Scope") -> bool:
        """Whether it falsifies the figure of this organisation, legal entity or user."""
        return self.level in (None, scope.level) and self.value in (None, scope.value)

    def told(self, row: dict[str, Json]) -> list[dict[str, Json]]:
        """Return the row as it is told."""
        told = {name: Verbatim(text) for name, text in self.wire.items() if text is not None}
        wrong = {name: value for name, value in (row | told).items() if self.wire.get(name, "") is not None}
        return [wrong, wrong] if self.twice else [wrong]


@dataclass(frozen=True)
class Scope:
    """Whose positions: an organisation's, a legal entity's or a user's."""

    org: str
    level: str
    value: str

    def holds(self, party: Party) -> bool:
        """Whether that side of a trade belongs to it."""
        match self.level:
            case "ORG":
                return self.value == self.org
            case "LE":
                return self.value == party.legal_entity
            case _:
                return self.value in (party.user, party.user.partition("@")[0])


@dataclass
class Net:
    """Sums of one symbol and value date; `turnover` weighs the average rate."""

    base: Decimal = Decimal(0)
    term: Decimal = Decimal(0)
    turnover: Decimal = Decimal(0)
    weighted: Decimal = Decimal(0)

    def rate(self, places: int) -> Decimal:
        """Return the average rate, weighted by the base amounts."""
        if not self.turnover:
            return Decimal(0)
        return WIDE.divide(self.weighted, self.turnover).quantize(Decimal(1).scaleb(-places - 2))


Key = tuple[str, date]


@dataclass(frozen=True)
class Ledger:
    """The trades of one organisation on one trade day, ready to be netted for any scope."""

    trades: tuple[Trade, ...]
    day: date
    variants: Variants
    errors: tuple[PositionError, ...]

    def rows(self, scope: Scope) -> list[dict[str, Json]]:
        """Return one row for each symbol and value date after the trade day."""
        nets = self.nets(scope)
        errors = [each for each in self.errors if each.concerns(scope)]
        for error in errors:
            net = nets[error.key]
            net.base, net.term = WIDE.add(net.base, error.base), WIDE.add(net.term, error.term)
        rows = {key: self._row(scope, key, nets[key]) for key in sorted(nets) if self._is_shown(nets[key])}
        if self.variants.positions_shape == "children" and scope.level in CHILD_LEVELS:
            self._add_children(scope, rows)
        return [told for key, row in rows.items() for told in _told(row, [each for each in errors if each.key == key])]

    def nets(self, scope: Scope) -> defaultdict[Key, Net]:
        """Sum what the live trades move, by symbol and value date."""
        nets: defaultdict[Key, Net] = defaultdict(Net)
        for party, trade in self._sides(scope):
            symbol = str(trade.fields["symbol"])
            for flow in flows(trade):
                if flow.value_date <= self.day:
                    continue
                if self._has_left(trade, flow.fixing_date):
                    continue
                net = nets[symbol, flow.value_date]
                net.base = WIDE.add(net.base, turned(flow.base, party.sign))
                net.term = WIDE.add(net.term, turned(flow.term, party.sign))
                net.turnover = WIDE.add(net.turnover, abs(flow.base))
                net.weighted = WIDE.add(net.weighted, WIDE.multiply(abs(flow.base), flow.rate))
        return nets

    def _has_left(self, trade: Trade, fixing_date: date | None) -> bool:
        """Whether a fixed NDF is no position any more, by a vendor that takes them out then."""
        if self.variants.positions_ndf == "kept" or fixing_date is None:
            return False
        return trade.fields["tradeType"] in NON_DELIVERABLE and fixing_date <= self.day

    def _sides(self, scope: Scope) -> Iterator[tuple[Party, Trade]]:
        for trade in self.trades:
            if trade.status == VERIFIED:
                yield from ((party, trade) for party in parties(trade) if scope.holds(party))

    def _is_shown(self, net: Net) -> bool:
        return bool(net.base) or self.variants.positions_flat == "kept"

    def _row(self, scope: Scope, key: Key, net: Net) -> dict[str, Json]:
        symbol, value_date = key
        pair = PAIRS.get(symbol)
        rate = net.rate(pair.places if pair else 5)
        term_currency = symbol.partition("/")[2]
        term = net.term
        if self.variants.positions_term == "average":
            term = rounded(WIDE.multiply(net.base, rate).copy_negate(), term_currency)
        mark = WIDE.add(term, WIDE.multiply(net.base, pair.mid)) if pair else Decimal(0)
        unsigned = self.variants.positions_sign == "side"
        return {
            "side": self._side(net.base),
            "symbol": symbol,
            "valueDate": value_date.isoformat(),
            "level": scope.level,
            "levelValue": scope.value,
            "netOpenBase": abs(net.base) if unsigned else net.base,
            "netOpenterm": abs(term) if unsigned else term,
            "rate": rate,
            "realizedPnL": 0,
            "unrealizedPnL": rounded(mark, term_currency),
            "pnlCurrency": term_currency,
        }

    def _side(self, base: Decimal) -> str:
        bought, sold = ("Buy", "Sell") if self.variants.positions_side == "buy_sell" else ("Long", "Short")
        return sold if base < 0 else bought

    def _add_children(self, scope: Scope, rows: Mapping[Key, dict[str, Json]]) -> None:
        """Give each row those of the level below that make it up."""
        level = CHILD_LEVELS[scope.level]
        sides = [party for party, _ in self._sides(scope)]
        values = {party.legal_entity if level == "LE" else party.user for party in sides} - {""}
        children: defaultdict[Key, list[Json]] = defaultdict(list)
        for value in sorted(values):
            for child in self.rows(Scope(scope.org, level, value)):
                children[str(child["symbol"]), date.fromisoformat(str(child["valueDate"]))].append(child)
        for key, row in rows.items():
            row["children"] = children[key]


def _told(row: dict[str, Json], errors: Iterable[PositionError]) -> list[dict[str, Json]]:
    rows = [row]
    for error in errors:
        rows = [told for each in rows for told in error.told(each)]
    return rows


def shaped(rows: list[dict[str, Json]], variants: Variants, page: int) -> Json:
    """Return the rows as the answer has them: an array, or an object around it (A14)."""
    match variants.positions_shape:
        case "object":
            return {"status": "OK", "positions": rows}
        case "empty_object":
            return {}
        case "empty_array":
            return []
        case "paged":
            size = variants.positions_page
            pages = max(1, -(-len(rows) // size))
            return {"positions": rows[(page - 1) * size : page * size], "page": page, "totalPages": pages}
        case _:
            return rows


def selected(rows: Iterable[dict[str, Json]], symbol: str | None, value_date: date | None) -> list[dict[str, Json]]:
    """Return the rows of a symbol and a value date, where these are asked."""
    day = value_date.isoformat() if value_date else None
    return [row for row in rows if symbol in (None, row.get("symbol")) and day in (None, row.get("valueDate"))]
