"""A plain client of the vendor's API, and a sandbox that many tests share, each with a download user of its own."""

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import requests

from etl.sandbox.exact import value_of
from etl.sandbox.options import Options, User
from etl.sandbox.process import Control, SandboxProcess
from etl.sandbox.variants import Variants

START = datetime(2024, 3, 13, 15, tzinfo=UTC)  # a Wednesday, 11:00 in New York
MESSAGES = "/v2/trades/stp/messages"
RESEND = "/v2/trades/stp/resend"
TIMEOUT_S = 5


class Client:
    """Asks as one user; every GET of the queue is sent once."""

    def __init__(self, url: str, control: Control, user: User) -> None:
        self.url, self.control, self.user = url, control, user
        self.session = requests.Session()
        self.session.trust_env = False
        self.token = ""
        self.since = control.state()["handed_out"]

    def login(self) -> requests.Response:
        body = {"user": self.user.name, "pass": self.user.password, "org": self.user.org}
        answer = self.session.post(f"{self.url}/v2/sso/login", json=body, timeout=TIMEOUT_S)
        self.token = answer.headers.get("SSO_TOKEN") or self.session.cookies.get("SSO_TOKEN", "")
        return answer

    def get(self, path: str, params: dict[str, Any] | None = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.get(
            self.url + path,
            params=params,
            headers={"SSO_TOKEN": self.token} | named,
            timeout=TIMEOUT_S,
            allow_redirects=False,
        )

    def messages(self, count: int | None = None, **headers: str) -> requests.Response:
        return self.get(MESSAGES, None if count is None else {"maxCount": count}, **headers)

    def read(self, count: int = 50) -> list[dict[str, Any]]:
        answer = self.messages(count)
        assert answer.status_code == 200, answer.text
        return value_of(answer.content) if answer.content else []

    def drain(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self.read():
            found += page
        return found

    def resend(self, start: str = "2020-01-01", end: str = "2030-01-01", **headers: str) -> requests.Response:
        body = {"startDate": f"{start} 00:00:00,000 +0000", "endDate": f"{end} 23:59:59,999 +0000"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.post(
            self.url + RESEND, json=body, headers={"SSO_TOKEN": self.token} | named, timeout=TIMEOUT_S
        )

    def handed_out(self) -> list[dict[str, Any]]:
        return [each for each in self.control.handed_out(after=self.since) if each["user"] == self.user.name]

    def trades(self) -> dict[str, dict[str, Any]]:
        return {each["trade_id"]: each for each in self.control.trades() if each["org"] == self.user.org}

    def execute(self, **content: Any) -> str:
        (trade_id,) = self.control.execute_trades([content], org=self.user.org)
        return trade_id

    def json(self, path: str, **params: Any) -> Any:
        answer = self.get(path, params)
        assert answer.status_code == 200, answer.text
        return value_of(answer.content)


def users(count: int, *, per_org: int = 1) -> tuple[User, ...]:
    return tuple(
        User(f"user{number}", f"secret {number}", f"org{number // per_org}", hmac_secret=f"key {number}")
        for number in range(count)
    )


def shared(count: int = 60, **options: Any) -> Iterator[tuple[SandboxProcess, Iterator[User]]]:
    """Yield a running sandbox and its users, of whom each test takes the next."""
    made = Options(**{"trades": 40, "start_time": START, "users": users(count), "token_life_s": 60} | options)
    with SandboxProcess(made) as sandbox:
        yield sandbox, iter(made.users)


def client_of(pool: tuple[SandboxProcess, Iterator[User]]) -> Iterator[Client]:
    """Yield a client that is logged in as a user nobody used before, and leave the sandbox as it was."""
    sandbox, free = pool
    client = Client(sandbox.url, sandbox.control, next(free))
    client.login()
    with client.session:
        yield client
    sandbox.control.clear_faults()
    sandbox.control.variant(**asdict(Variants()))
    sandbox.control.today(now=START.isoformat())


def signature(client: Client, target: str, **changes: str) -> dict[str, str]:
    """Return the headers that sign a GET (R, HMAC authentication); `changes` replaces parts before or after signing."""
    date = changes.get("date") or format_datetime(datetime.now(UTC), usegmt=True)
    digest = "SHA-256=" + base64.b64encode(hashlib.sha256(b"").digest()).decode()
    headers = changes.get("headers", "request-line date digest")
    values = {"request-line": f"GET {target} HTTP/1.1", "date": f"date: {date}", "digest": f"digest: {digest}"}
    text = "\n".join(values[name] for name in headers.split(" "))
    key = changes.get("key", client.user.hmac_secret)
    signed = base64.b64encode(hmac.digest(key.encode(), text.encode(), "sha256")).decode()
    return {
        "Authorization": f'{changes.get("scheme", "hmac")} {changes.get("name", "username")}="{client.user.name}",'
        f'algorithm="hmac-sha256", headers="{headers}", signature="{signed}"',
        "Date": date,
        "Digest": changes.get("digest", digest),
        "type": "hmac",
    }
