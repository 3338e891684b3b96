"""The endpoints that change nothing: fills, one trade, positions, custody, rates."""

from datetime import UTC, date, datetime
from decimal import Decimal

from etl.sandbox import custody, days, market, positions, wire
from etl.sandbox.exact import Json, Verbatim
from etl.sandbox.exchange import Answer, Question, ok, refusal
from etl.sandbox.positions import Ledger, Scope
from etl.sandbox.trade import VERIFIED, Trade
from etl.sandbox.variants import Variants
from etl.sandbox.world import World


class Inquiries:
    """Answers of the vendor about what it knows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cached: tuple[object, list[dict[str, Json]]] | None = None

    def fills(self, question: Question) -> Answer:
        """Return all fills of an order (A19)."""
        order = question.query.get("orderId")
        if not order:
            return refusal(400, "orderId is missing", "RequestValidationError.orderId")
        found = [trade for trade in self._world.by_order.get(order, []) if trade.org == question.asker().org]
        variants = self._variants(question)
        if variants.fills == "verified":
            found = [trade for trade in found if trade.status == VERIFIED]
        if not found or variants.fills == "404":
            return refusal(404, "No trades for this order")
        return ok([Verbatim(wire.answer_text(trade, variants)) for trade in found])

    def trade(self, question: Question) -> Answer:
        """Return one trade with the status that it has now (A20)."""
        trade, variants = self._world.trades.get(question.path["id"]), self._variants(question)
        if trade is None or trade.org != question.asker().org or variants.trade_query == "404":
            return refusal(404, "No such trade")
        return ok(Verbatim(wire.answer_text(trade, variants)))

    def _variants(self, question: Question) -> Variants:
        return self._world.variants_of(question.asker().org)

    def positions(self, question: Question) -> Answer:
        """Return open positions; without `level`, those of the asking user (R/positions/getpositions)."""
        variants = self._variants(question)
        try:
            value_date = _path_date(question.path.get("valueDate"), variants)
        except ValueError:
            return refusal(404, "The value date is not in the form that is documented")
        asker = question.asker()
        level = question.query.get("level", "USER")
        if level not in positions.LEVELS:
            return refusal(400, "level is none of ORG, LE, USER", "RequestValidationError.level")
        usual = {"ORG": asker.org, "USER": asker.name, "LE": f"{asker.org}LE1"}[level]
        scope = Scope(asker.org, level, question.query.get("value", usual))
        page = question.query.get("page", "1")
        rows = positions.selected(self._rows(scope), question.query.get("symbol"), value_date)
        return ok(positions.shaped(rows, variants, int(page) if page.isdigit() else 1))

    def _rows(self, scope: Scope) -> list[dict[str, Json]]:
        """Net the trades, unless nothing has changed since the same was asked last."""
        world, variants = self._world, self._world.variants_of(scope.org)
        day = days.trade_day(world.clock.now())
        key = scope, day, world.revision, variants, tuple(world.position_errors)
        if self._cached is None or self._cached[0] != key:
            ledger = Ledger(tuple(self._trades(scope.org)), day, variants, tuple(world.position_errors))
            self._cached = key, ledger.rows(scope)
        return self._cached[1]

    def balances(self, question: Question) -> Answer:
        """Return what the accounts hold together, of one asset or of all (A15)."""
        account = self._world.custody[question.asker().org]
        rows = custody.balance_rows(account, self._held(account.org), self._variants(question))
        return self._balances(rows, question)

    def broker_balances(self, question: Question) -> Answer:
        """Return what each account holds (A16)."""
        account = self._world.custody[question.asker().org]
        rows = custody.broker_rows(account, self._held(account.org), self._variants(question))
        return self._balances(rows, question)

    def _balances(self, rows: list[dict[str, Json]], question: Question) -> Answer:
        asset, variants = question.query.get("asset"), self._variants(question)
        found = [row for row in rows if asset in (None, row["asset"])]
        found = custody.falsified(found, self._world.custody[question.asker().org].errors, variants)
        match variants.balances_shape:
            case "object":
                return ok({"balances": found})
            case "empty_object":
                return ok({})
            case "empty_array":
                return ok([])
            case _:
                return ok(found)

    def _held(self, org: str) -> dict[tuple[str, str], Decimal]:
        day = days.trade_day(self._world.clock.now())
        return self._world.custody[org].balances(self._trades(org), day)

    def _trades(self, org: str) -> list[Trade]:
        return [trade for trade in self._world.trades.values() if trade.org == org]

    def deposits(self, question: Question) -> Answer:
        """Return the deposits of a span of time (A17)."""
        return self._history(self._world.custody[question.asker().org].deposits, question)

    def withdrawals(self, question: Question) -> Answer:
        """Return the withdrawals of a span of time (A17)."""
        return self._history(self._world.custody[question.asker().org].withdrawals, question)

    def _history(self, transfers: list[custody.Transfer], question: Question) -> Answer:
        start, end = (question.query.get(name, "") for name in ("startTime", "endTime"))
        if any(text and not text.isdigit() for text in (start, end)):
            return refusal(400, "startTime and endTime are epoch milliseconds", "RequestValidationError.time")
        first, last = int(start or 0), int(end or 10**15)
        found = [each for each in transfers if first <= each.epoch_ms <= last]
        return ok([custody.transfer_row(each, self._variants(question)) for each in found])

    def assets(self, question: Question) -> Answer:
        """Return the details of one asset or of all (A18)."""
        wanted, variants = question.query.get("asset"), self._variants(question)
        return ok([custody.asset_row(asset, variants) for asset in market.ASSETS if wanted in (None, asset)])

    def spot(self, question: Question) -> Answer:
        """Return the best bid and offer of a symbol (R/market-data/getspotrate)."""
        pair = market.PAIRS.get(question.query.get("symbol", ""))
        if pair is None:
            return refusal(404, "No rate for this symbol", "RequestValidationError.InvalidCurrencyPair")
        tick = Decimal(1).scaleb(-pair.places)
        document: dict[str, Json] = {"symbol": pair.symbol, "bid": pair.mid - tick, "offer": pair.mid + tick}
        rate_id = f"{question.at.date()}-{pair.symbol.replace('/', '')}-SPOT-435ef73249"
        document |= {"bidLimit": 1000000, "offerLimit": 1000000, "time": _epoch_ms(question.at), "rateId": rate_id}
        return ok(document)

    def benchmark(self, question: Question) -> Answer:
        """Return the benchmark rate of a symbol (R/market-data/getbenchmark)."""
        pair = market.PAIRS.get(question.query.get("symbol", ""))
        if pair is None:
            return refusal(404, "No rate for this symbol", "RequestValidationError.InvalidCurrencyPair")
        uid = f"G-4796976cd-{_epoch_ms(question.at):x}-FXB-6237f19"
        return ok({"symbol": pair.symbol, "rate": pair.mid, "uid": uid, "timestamp": _epoch_ms(question.at)})


def _path_date(text: str | None, variants: Variants) -> date | None:
    if text is None:
        return None
    iso = variants.path_date == "iso"
    return datetime.strptime(text, "%Y-%m-%d" if iso else "%Y%m%d").replace(tzinfo=UTC).date()


def _epoch_ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
