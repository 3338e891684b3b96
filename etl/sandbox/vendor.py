"""The vendor's API over HTTP: reads a request, checks who asks, lets faults happen, answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from etl.sandbox.auth import RefusedError, Signed
from etl.sandbox.connection import Connection
from etl.sandbox.delivery import Accident, Courier
from etl.sandbox.exchange import Answer, Handler, Question, refusal
from etl.sandbox.faults import Fault, fault_of_header
from etl.sandbox.inquiries import Inquiries
from etl.sandbox.options import User
from etl.sandbox.sessions import Sessions
from etl.sandbox.stp import StpDownload
from etl.sandbox.world import World

WITHOUT_TOKEN = frozenset({"login", "renew"})
"""Endpoints that are reached without a valid session."""


class Vendor:
    """All endpoints of the vendor over one world."""

    def __init__(self, world: World, refuse: Callable[[float], Awaitable[None]]) -> None:
        self.world = world
        self.sessions = Sessions(world)
        self.refuse = refuse

    def routes(self) -> list[Route]:
        """Return the documented paths; what else is asked is 404, as R says."""
        stp, ask, sessions = StpDownload(self.world), Inquiries(self.world), self.sessions
        table: list[tuple[str, str, str, Handler]] = [
            ("POST", "/v2/sso/login", "login", sessions.login),
            ("GET", "/v2/sso/token/renew", "renew", sessions.renew),
            ("GET", "/sso/tokens/renew", "renew", sessions.renew),
            ("GET", "/v2/trades/stp/messages", "messages", stp.messages),
            ("POST", "/v2/trades/stp/resend", "resend", stp.resend),
            ("GET", "/v2/trades", "fills", ask.fills),
            ("GET", "/v2/trades/{id}", "trade", ask.trade),
            ("GET", "/v2/positions", "positions", ask.positions),
            ("GET", "/v2/positions/{valueDate}", "positions", ask.positions),
            ("GET", "/custody/v2/account/balances", "balances", ask.balances),
            ("GET", "/custody/v2/broker/account/balances", "broker_balances", ask.broker_balances),
            ("GET", "/custody/v2/deposit/history", "deposits", ask.deposits),
            ("GET", "/custody/v2/withdraw/history", "withdrawals", ask.withdrawals),
            ("GET", "/custody/v2/asset/assetDetail", "assets", ask.assets),
            ("GET", "/v2/rates/spot", "spot", ask.spot),
            ("GET", "/v2/benchmark", "benchmark", ask.benchmark),
        ]
        return [Route(path, Endpoint(self, name, handler), methods=[method]) for method, path, name, handler in table]

    def later(self, seconds: float, execute: Callable[[], object]) -> None:
        """Execute a request whose sender may be gone by then (A22)."""
        asyncio.get_running_loop().call_later(seconds, execute)

    def authenticate(self, question: Question, line: str) -> User | None:
        """Return who asks; raises RefusedError where nobody valid does."""
        if question.record.endpoint in WITHOUT_TOKEN:
            return None
        return self.sessions.user_behind(Signed(line, question.headers, question.body))

    def fault_for(self, question: Question, user: User | None) -> Fault | None:
        """Return the fault that the request asks for, or that the plan has for it."""
        if (asked := question.headers.get("x-sandbox-fault")) is not None:
            return fault_of_header(asked)
        if not self.world.plan.active:
            return None
        name = question.record.endpoint
        non_empty = name == "messages" and user is not None and self.world.queue(user).has_any()
        return self.world.plan.choose(name, user.name if user else None, non_empty=non_empty)


@dataclass(frozen=True, eq=False)
class Endpoint:
    """One endpoint as an ASGI application."""

    vendor: Vendor
    name: str
    handler: Handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        question, line = self._read(scope, body)
        courier = Courier(self.vendor.sessions, Connection(scope, receive), send, question.record.request_id)
        try:
            user = self.vendor.authenticate(question, line)
        except RefusedError as error:
            await self._finish(courier, question, refusal(401, str(error), error.code))
            return
        try:
            fault = self.vendor.fault_for(question, user)
        except ValueError as error:
            await self._finish(courier, question, refusal(400, str(error)))
            return
        question = _with(question, user, fault)
        if fault is None:
            await self._finish(courier, question, self.handler(question))
            return
        question.record.fault = fault.name
        if fault.kind == "token_expired":
            self.vendor.world.tokens.expire(question.headers.get("sso_token"))
            await self._finish(
                courier, question, refusal(401, "The token has expired", "AuthenticationError.TokenExpired")
            )
            return
        await self._accident(question, fault, courier).happen()

    def _accident(self, question: Question, fault: Fault, courier: Courier) -> Accident:
        def execute() -> Answer:
            if fault.kind == "execute":
                self.vendor.world.execute(question.asker().org, fault.count or 1)
            return self.handler(question)

        def ghost(seconds: float) -> None:
            self.vendor.later(seconds, execute)

        return Accident(question, fault, courier, execute, ghost, self.vendor.refuse)

    async def _finish(self, courier: Courier, question: Question, answer: Answer) -> None:
        question.record.status = answer.status
        await courier.deliver(answer)

    def _read(self, scope: Scope, body: bytes) -> tuple[Question, str]:
        """Return the request, and its first line as it was signed."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        world = self.vendor.world
        at = world.clock.now()
        record = world.records.request(
            at, self.name, line=(scope["method"], target), request_id=headers.get("x-request-id")
        )
        path: Mapping[str, str] = scope["path_params"]
        question = Question(record, headers, dict(parse_qsl(query, keep_blank_values=True)), path, body, at)
        return question, f"{scope['method']} {target} HTTP/{scope['http_version']}"


def _with(question: Question, user: User | None, fault: Fault | None) -> Question:
    question.record.user = user.name if user else None
    return Question(
        question.record, question.headers, question.query, question.path, question.body, question.at, user, fault
    )


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
