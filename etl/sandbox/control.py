"""The sandbox's own endpoints under `/_sandbox`: what the vendor does next, and what it has done."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl.sandbox import days, lifecycle
from etl.sandbox.custody import COMPLETED, BalanceError, Transfer
from etl.sandbox.exact import Json, Verbatim, text_of
from etl.sandbox.faults import fault_of
from etl.sandbox.options import START_TIME
from etl.sandbox.orders import deed, json_of, object_of, question
from etl.sandbox.positions import PositionError
from etl.sandbox.trade import Trade
from etl.sandbox.world import World, raw_element


class Control:
    """Every deed takes a JSON object and answers one; a deed that makes no sense is 400 and changes nothing."""

    def __init__(self, world: World, refuse: Callable[[float], Awaitable[None]]) -> None:
        self._world = world
        self._refuse = refuse
        self._transfers = 0

    def routes(self) -> list[Route]:
        """Return the paths; deeds are POST, questions are GET."""
        deeds: dict[str, Callable[[Mapping[str, Any]], Json]] = {
            "execute": self.execute,
            "raw": self.raw,
            "cancel": lambda values: self._new(lifecycle.cancel(self._world, self._trade(values))),
            "amend": lambda values: self._new(lifecycle.amend(self._world, self._trade(values), _fields(values))),
            "roll": lambda values: self._new(lifecycle.roll(self._world, self._trade(values), _fields(values))),
            "allocate": lambda values: self._new(
                lifecycle.allocate(self._world, self._trade(values), values.get("parts", []))
            ),
            "hide": self.hide,
            "mutate": self.mutate,
            "deposit": self.deposit,
            "withdrawal": self.withdrawal,
            "transfer": self.transfer,
            "position-error": self.position_error,
            "balance-error": self.balance_error,
            "today": self.today,
            "variant": self.variant,
            "faults": self.faults,
            "expire-tokens": self.expire_tokens,
            "rotate": self.rotate,
        }
        questions: dict[str, Callable[[int], Iterator[bytes]]] = {
            "handed-out": self._world.records.hand_out_lines,
            "requests": self._world.records.request_lines,
            "trades": lambda _: self.trade_lines(),
        }
        return [
            *(Route(f"/_sandbox/{name}", deed(name, act), methods=["POST"]) for name, act in deeds.items()),
            *(Route(f"/_sandbox/{name}", question(ask), methods=["GET"]) for name, ask in questions.items()),
            Route("/_sandbox/state", self.state, methods=["GET"]),
            Route("/_sandbox/refuse", self.refuse, methods=["POST"]),
        ]

    def execute(self, values: Mapping[str, Any]) -> Json:
        """`count` trades are done now, or those of `trades`, a list of contents; `org` where it is not the first."""
        org = self._org(values)
        if "trades" in values:
            return self._new(lifecycle.executed(self._world, org, values["trades"]))
        return self._new(self._world.execute(org, int(values.get("count", 1))))

    def raw(self, values: Mapping[str, Any]) -> Json:
        """`elements`, texts, wait in the queue word for word; `whole_body` is the next answer of the queue."""
        elements = [raw_element(str(text)) for text in values.get("elements", [])]
        for queue in self._world.queues(self._org(values)):
            queue.push_raw(elements)
        if "whole_body" in values:
            self._world.whole_bodies.append(str(values["whole_body"]))
        return {"elements": len(elements)}

    def hide(self, values: Mapping[str, Any]) -> Json:
        """Never hand out a trade (again), though positions and fills know it; `hidden` false ends that."""
        trade = self._trade(values)
        trade.hidden = bool(values.get("hidden", True))
        self._world.touched(trade)
        if not trade.hidden:
            for queue in self._world.queues(trade.org):
                queue.restore(trade)
        return {"trade_id": trade.id, "hidden": trade.hidden}

    def mutate(self, values: Mapping[str, Any]) -> Json:
        """Give a trade other `fields`, which are told from now on; `wire` alone changes only the messages.

        With `again` it is handed out once more, though nobody asked for it.
        """
        trade = self._trade(values)
        lifecycle.mutate(self._world, trade, _fields(values))
        for queue in self._world.queues(trade.org) if values.get("again") else ():
            queue.requeue([trade], after_s=0)
        return {"trade_id": trade.id}

    def deposit(self, values: Mapping[str, Any]) -> Json:
        """Add a deposit: `asset`, `amount`, and `status`, `account`, `time` where they are not the usual ones."""
        return self._transfer(values, None)

    def withdrawal(self, values: Mapping[str, Any]) -> Json:
        """Add a withdrawal: as a deposit, and its `fee`."""
        return self._transfer(values, lifecycle.decimal(values.get("fee", 0)))

    def _transfer(self, values: Mapping[str, Any], fee: Decimal | None) -> Json:
        custody = self._world.custody[self._org(values)]
        self._transfers += 1
        at = datetime.fromtimestamp(int(values["time"]) / 1000, UTC) if "time" in values else self._world.clock.now()
        transfer = Transfer(
            id=str(values.get("id", f"{'DEP' if fee is None else 'WDR'}{self._transfers:06}")),
            account=str(values.get("account", custody.first_account)),
            asset=str(values["asset"]),
            amount=lifecycle.decimal(values["amount"]),
            at=at,
            status=str(values.get("status", COMPLETED)),
            fee=fee,
        )
        (custody.deposits if fee is None else custody.withdrawals).append(transfer)
        return {"id": transfer.id}

    def transfer(self, values: Mapping[str, Any]) -> Json:
        """Give a deposit or withdrawal `id` another `status`."""
        custody = self._world.custody[self._org(values)]
        for transfers in (custody.deposits, custody.withdrawals):
            for index, each in enumerate(transfers):
                if each.id == values["id"]:
                    changed = asdict(each) | {"status": str(values["status"])}
                    transfers[index] = Transfer(**changed)
                    return {"id": each.id}
        raise ValueError(f"no such transfer: {values['id']}")

    def position_error(self, values: Mapping[str, Any]) -> Json:
        """Add `base` and `term` to the vendor's figure of `symbol` and `valueDate`; or write the texts (JSON) of `wire`
        in the place of fields, null leaves one out; let the row stand `twice`. `clear` forgets all errors."""
        if values.get("clear"):
            self._world.position_errors.clear()
            return {"errors": 0}
        error = PositionError(
            symbol=str(values["symbol"]),
            value_date=date.fromisoformat(str(values["valueDate"])),
            base=lifecycle.decimal(values.get("base", 0)),
            term=lifecycle.decimal(values.get("term", 0)),
            level=values.get("level"),
            value=values.get("value"),
            wire=dict(values.get("wire", {})),
            twice=bool(values.get("twice", False)),
        )
        self._world.position_errors.append(error)
        return {"errors": len(self._world.position_errors)}

    def balance_error(self, values: Mapping[str, Any]) -> Json:
        """Add `amount` to the vendor's figure of an `asset`, of one `account` where it is named; or write `text` (JSON)
        in its place, leave the field `omit` out, let the row stand `twice`; `clear` forgets all errors."""
        errors = self._world.custody[self._org(values)].errors
        if values.get("clear"):
            errors.clear()
        else:
            amount, twice = lifecycle.decimal(values.get("amount", 0)), bool(values.get("twice", False))
            account, text, omit = values.get("account"), values.get("text"), str(values.get("omit", ""))
            errors.append(BalanceError(str(values["asset"]), amount, account, text, omit, twice))
        return {"errors": len(errors)}

    def today(self, values: Mapping[str, Any]) -> Json:
        """Set the vendor's clock: `now` is an instant, `today` a day at 15:00 UTC, `advance_s` a step."""
        clock = self._world.clock
        if "now" in values:
            clock.move_to(datetime.fromisoformat(str(values["now"])).astimezone(UTC))
        elif "today" in values:
            clock.move_to(datetime.combine(date.fromisoformat(str(values["today"])), time(START_TIME.hour), UTC))
        else:
            clock.move_to(clock.now() + timedelta(milliseconds=int(lifecycle.decimal(values["advance_s"]) * 1000)))
        return {"now": clock.now().isoformat(), "trade_day": days.trade_day(clock.now()).isoformat()}

    def variant(self, values: Mapping[str, Any]) -> Json:
        """Switch variants: names and values, for the questions of one `org` where it is named; answers what holds."""
        named = {name: value for name, value in values.items() if name != "org"}
        org = self._org(values) if "org" in values else None
        return _plain(asdict(self._world.vary(named, org)))

    def faults(self, values: Mapping[str, Any]) -> Json:
        """Plan `faults`, a list; `clear` forgets what was planned before, and ends chance."""
        listed = values.get("faults", [])
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise ValueError('faults is no list of objects, such as [{"fault": "close_after"}]')
        planned = [fault_of(each) for each in listed]
        if values.get("clear"):
            self._world.plan.clear()
        self._world.plan.add(planned)
        return {"planned": self._world.plan.waiting()}

    def expire_tokens(self, _: Mapping[str, Any]) -> Json:
        """End all sessions now."""
        self._world.tokens.expire()
        return {}

    def rotate(self, values: Mapping[str, Any]) -> Json:
        """Give a `user` of `org` another `password`; all sessions end."""
        user = self._world.user(str(values["user"]), str(values["org"]))
        if user is None:
            raise ValueError("there is no such user")
        self._world.rotate(user, str(values["password"]))
        return {}

    async def refuse(self, request: Request) -> Response:
        """Close the port for `seconds`, right after this answer."""
        try:
            values = object_of(await request.body())
        except ValueError as error:
            return json_of({"error": str(error)}, 400)
        asyncio.get_running_loop().call_later(0.02, _start, self._refuse(float(values.get("seconds", 1))))
        return json_of({})

    async def state(self, _: Request) -> Response:
        """Tell clock, queues, faults and variants."""
        world = self._world
        queues = {f"{user.name}@{user.org}": world.queue(user).ready() for user in world.options.users}
        now = world.clock.now()
        document: dict[str, Json] = {"now": now.isoformat(), "trade_day": days.trade_day(now).isoformat()}
        document |= {"trades": len(world.trades), "handed_out": world.records.handed_out, "ready": queues}
        document |= {"planned": world.plan.waiting(), "requests": world.records.asked}
        return json_of(document | {"variants": _plain(asdict(world.variants))})

    def trade_lines(self) -> Iterator[bytes]:
        """Yield a line for each trade of the world, with its status and who has downloaded it."""
        world = self._world
        queues = {f"{user.name}@{user.org}": (user.org, world.queue(user)) for user in world.options.users}
        for trade in world.trades.values():
            taken = [name for name, (org, queue) in queues.items() if org == trade.org and queue.is_downloaded(trade)]
            line: dict[str, Json] = {"trade_id": trade.id, "org": trade.org, "status": trade.status}
            line |= {"replaced_by": trade.replaced_by, "hidden": trade.hidden, "downloaded_by": taken}
            yield text_of(line | {"fields": trade.fields}).encode() + b"\n"

    def _org(self, values: Mapping[str, Any]) -> str:
        org = values.get("org", self._world.options.users[0].org)
        if org not in self._world.generators:
            raise ValueError(f"no such organisation: {org}")
        return str(org)

    def _trade(self, values: Mapping[str, Any]) -> Trade:
        trade = self._world.trades.get(str(values["trade_id"]))
        if trade is None:
            raise ValueError(f"no such trade: {values['trade_id']}")
        return trade

    def _new(self, trades: list[Trade]) -> Json:
        return {"trade_ids": [trade.id for trade in trades]}


def _fields(values: Mapping[str, Any]) -> Mapping[str, Any]:
    found = values.get("fields", {})
    if not isinstance(found, dict):
        raise ValueError("fields is no object")
    return found | ({"wire": values["wire"]} if "wire" in values else {})


def _plain(values: Mapping[str, Any]) -> dict[str, Json]:
    return {name: Verbatim(value) if isinstance(value, float) else value for name, value in values.items()}


def _start(refusing: Awaitable[None]) -> None:
    asyncio.ensure_future(refusing)
