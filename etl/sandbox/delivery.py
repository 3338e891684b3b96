"""How an answer travels: whole, late, cut, in other words, or not at all."""

import asyncio
import gzip
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import format_datetime

from starlette.types import Send

from etl.sandbox.connection import Connection, head
from etl.sandbox.exchange import Answer, Question, refusal
from etl.sandbox.faults import OTHER_BODY, STATUSES, Fault
from etl.sandbox.sessions import Sessions

FOREVER_S = 3600.0
SLOW_S = 1.0
SLOW_PIECES = 20
HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Please come back later.</body></html>"
OTHER_BODIES = {
    "html": Answer(body=HTML, content_type="text/html"),
    "object": Answer(body=b"{}"),
    "null": Answer(body=b"null"),
    "wrapped": Answer(body=b'{"trades": []}'),
}


@dataclass(frozen=True)
class Courier:
    """Brings one answer to one client."""

    sessions: Sessions
    connection: Connection
    send: Send
    request_id: str | None

    def headers(self, answer: Answer, length: int | None) -> list[tuple[bytes, bytes]]:
        """Return the headers of an answer; the Date is that of the vendor's clock."""
        date = format_datetime(self.sessions.clock(), usegmt=True)
        pairs = [("Content-Type", answer.content_type)] if answer.status != 204 else []
        pairs += [("Date", date), *answer.headers]
        if self.request_id is not None:
            pairs.append(("X-Request-ID", self.request_id))
        if length is not None and answer.status != 204:
            pairs.append(("Content-Length", str(length)))
        return [(name.encode(), value.encode("latin-1")) for name, value in pairs]

    async def deliver(self, answer: Answer) -> None:
        """Send it whole."""
        length = None if answer.chunked else len(answer.body)
        await self._start(answer, length)
        await self.send({"type": "http.response.body", "body": answer.body})

    async def deliver_slowly(self, answer: Answer, seconds: float) -> None:
        """Send the body in small pieces, spread over some seconds."""
        await self._start(answer, len(answer.body))
        size = max(1, -(-len(answer.body) // SLOW_PIECES))
        pieces = [answer.body[index : index + size] for index in range(0, len(answer.body), size)]
        for piece in pieces:
            await asyncio.sleep(seconds / len(pieces))
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    async def deliver_part(self, answer: Answer, *, announced: int, sent: int) -> None:
        """Announce one length, send another, and close."""
        self.connection.write(head(answer.status, self.headers(answer, announced)) + answer.body[:sent])
        await self.connection.close()

    async def deliver_headers(self, answer: Answer, seconds: float) -> None:
        """Send the headers, and then nothing."""
        self.connection.write(head(answer.status, self.headers(answer, len(answer.body) or 2)))
        await self.connection.silence(seconds)
        await self.connection.close()

    async def _start(self, answer: Answer, length: int | None) -> None:
        headers = self.headers(answer, length)
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})


Execute = Callable[[], Answer]
Ghost = Callable[[float], None]
Refuse = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Accident:
    """One request, the fault that it meets, and what it would do otherwise."""

    question: Question
    fault: Fault
    courier: Courier
    execute: Execute
    ghost: Ghost
    """Executes the request some seconds later, whoever is still there."""
    refuse: Refuse
    """Closes the port for some seconds."""

    async def happen(self) -> None:
        """Let the fault happen."""
        if not await self._without_answer():
            answer = self._other_answer()
            await self._sent_otherwise(self.execute() if answer is None else answer)

    def _seconds(self, default: float) -> float:
        return default if self.fault.delay_s is None else self.fault.delay_s

    async def _without_answer(self) -> bool:
        """Do what needs no answer, and return whether the fault is such."""
        connection = self.courier.connection
        match self.fault.kind:
            case "close_before" | "reset_before" | "close_after" | "reset_after":
                if self.fault.kind.endswith("_after"):
                    self.execute()
                await connection.silence(self._seconds(0))
                await (connection.reset() if self.fault.kind.startswith("reset") else connection.close())
            case "refuse":
                await self.refuse(self._seconds(1))
                await connection.close()
            case "ghost":
                self.ghost(self._seconds(1))
                await connection.silence(0 if self.fault.close else FOREVER_S)
                await connection.close()
            case _:
                return False
        return True

    def _other_answer(self) -> Answer | None:
        """Return what is answered instead of the truth, after the hand-out or without one; None for the truth."""
        kind, _, when = self.fault.kind.rpartition("_")
        kind = kind if when in ("before", "after") else self.fault.kind
        if kind not in STATUSES | OTHER_BODY:
            return _redirect(self.question) if kind == "redirect" else None
        if when == "after" or (kind in OTHER_BODY and when != "before"):
            self.execute()
        if kind in OTHER_BODY:
            return OTHER_BODIES[kind]
        answer = refusal(int(kind), f"This is status {kind}, on request")
        return answer.with_header("Retry-After", str(self.fault.retry_after_s)) if kind == "429" else answer

    async def _sent_otherwise(self, answer: Answer) -> None:
        courier, size = self.courier, len(answer.body)
        self.question.record.status = answer.status
        match self.fault.kind:
            case "headers_then_silence":
                await courier.deliver_headers(answer, self._seconds(FOREVER_S))
            case "cut_body":
                await courier.deliver_part(answer, announced=max(size, 2), sent=size // 2)
            case "wrong_length":
                await courier.deliver_part(answer, announced=max(1, size - size // 3), sent=size)
            case "gzip" | "gzip_cut":
                packed = gzip.compress(answer.body)
                packed = packed[: len(packed) // 2] if self.fault.kind == "gzip_cut" else packed
                await courier.deliver(replace(answer, body=packed).with_header("Content-Encoding", "gzip"))
            case "slow_bytes":
                await courier.deliver_slowly(answer, self._seconds(SLOW_S))
            case "delay":
                await courier.connection.silence(self._seconds(SLOW_S))
                await courier.deliver(answer)
            case "foreign_request_id":
                await replace(courier, request_id=str(uuid.uuid4())).deliver(answer)
            case "no_request_id":
                await replace(courier, request_id=None).deliver(answer)
            case _:
                await courier.deliver(answer)


def _redirect(question: Question) -> Answer:
    """Point to the same path: whoever follows it takes from the queue without knowing."""
    return Answer(307).with_header("Location", question.record.path)
