"""One request of the vendor's API and its answer, before anything goes wrong on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from etl.sandbox.exact import Json, bytes_of
from etl.sandbox.faults import Fault
from etl.sandbox.options import User
from etl.sandbox.records import RequestRecord


@dataclass(frozen=True)
class Question:
    """A request that has been read whole and authenticated; `user` is None for the login alone."""

    record: RequestRecord
    headers: Mapping[str, str]
    query: Mapping[str, str]
    path: Mapping[str, str]
    body: bytes
    at: datetime
    user: User | None = None
    fault: Fault | None = None

    def asker(self) -> User:
        """Return the user; every endpoint but the login is only reached with one."""
        if self.user is None:
            raise ValueError("this endpoint is not reached without a user")
        return self.user

    def meets(self, kind: str) -> bool:
        """Whether this fault is to happen."""
        return self.fault is not None and self.fault.kind == kind

    def fault_count(self, default: int) -> int:
        """Return how many trades the fault concerns."""
        return default if self.fault is None or self.fault.count is None else self.fault.count


@dataclass(frozen=True)
class Answer:
    """What the vendor answers; `chunked` leaves the length out."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    chunked: bool = False

    def with_header(self, name: str, value: str) -> "Answer":
        """Return it with one more header."""
        return replace(self, headers=(*self.headers, (name, value)))


Handler = Callable[[Question], Answer]


def ok(value: Json) -> Answer:
    """Answer 200 with JSON."""
    return Answer(body=bytes_of(value))


def refusal(status: int, message: str, code: str | None = None) -> Answer:
    """Answer an error, with the body of assumption A9."""
    body: dict[str, Json] = {"message": message}
    if code is not None:
        body["reasonCode"] = code
    return Answer(status, bytes_of(body))
