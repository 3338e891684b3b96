"""The sandbox as a child process, and a client for its control endpoints; for the demo and for tests."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.request import ProxyHandler, Request, build_opener

from etl.sandbox.options import USERS_VARIABLE, Options, User

START_S = 60.0
TRADES_A_SECOND = 5_000  # that a slow machine makes for the backlog of the start, beside
STOP_S = 5.0
CONTROL_S = 60.0


class SandboxStartError(RuntimeError):
    """The child ended, or said nothing, before it was ready."""


class Control:
    """The control endpoints of a running sandbox; each method is one deed or one question."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open = build_opener(ProxyHandler({})).open

    def execute(self, count: int = 1, *, org: str | None = None) -> list[str]:
        """Let trades be done now; returns their ids."""
        return self._ids("execute", {"count": count}, org)

    def execute_trades(self, trades: Sequence[Mapping[str, Any]], *, org: str | None = None) -> list[str]:
        """Let trades with given content be done now; returns their ids."""
        return self._ids("execute", {"trades": trades}, org)

    def raw(self, *elements: str, org: str | None = None) -> None:
        """Let texts wait in the queue, to be handed out word for word."""
        self.post("raw", {"elements": elements} | _where(org))

    def whole_body(self, body: str) -> None:
        """Answer the next request of the queue with this body."""
        self.post("raw", {"whole_body": body})

    def cancel(self, trade_id: str) -> None:
        """Cancel a trade; nothing announces it."""
        self.post("cancel", {"trade_id": trade_id})

    def amend(self, trade_id: str, **fields: Any) -> list[str]:
        """Replace a trade; returns the id of the new one."""
        return self._ids("amend", {"trade_id": trade_id, "fields": fields})

    def roll(self, trade_id: str, **fields: Any) -> list[str]:
        """Replace a trade by one with a later value date; returns the id of the new one."""
        return self._ids("roll", {"trade_id": trade_id, "fields": fields})

    def allocate(self, trade_id: str, parts: Sequence[Mapping[str, Any]] = ()) -> list[str]:
        """Split a trade; returns the ids of the parts."""
        return self._ids("allocate", {"trade_id": trade_id, "parts": parts})

    def hide(self, trade_id: str, *, hidden: bool = True) -> None:
        """Never hand out a trade (again)."""
        self.post("hide", {"trade_id": trade_id, "hidden": hidden})

    def mutate(
        self, trade_id: str, *, wire: Mapping[str, Any] | None = None, again: bool = False, **fields: Any
    ) -> None:  # fmt: skip
        """Change a trade's content without a new id; `wire` changes its messages alone; `again` hands it out again."""
        self.post("mutate", {"trade_id": trade_id, "fields": fields, "wire": wire or {}, "again": again})

    def deposit(self, asset: str, amount: Decimal, **more: Any) -> str:
        """Add a deposit; returns its id."""
        return str(self.post("deposit", {"asset": asset, "amount": amount, **more})["id"])

    def withdrawal(self, asset: str, amount: Decimal, **more: Any) -> str:
        """Add a withdrawal; returns its id."""
        return str(self.post("withdrawal", {"asset": asset, "amount": amount, **more})["id"])

    def position_error(self, symbol: str, value_date: str, **more: Any) -> None:
        """Falsify a position: `base` and `term` are added; or `wire`, `twice`."""
        self.post("position-error", {"symbol": symbol, "valueDate": value_date, **more})

    def transfer(self, transfer_id: str, status: str, **more: Any) -> None:
        """Give a deposit or withdrawal another status."""
        self.post("transfer", {"id": transfer_id, "status": status, **more})

    def balance_error(self, asset: str, **more: Any) -> None:
        """Falsify a balance: `amount` is added; or `text`, `omit`, `twice`; `clear` ends that."""
        self.post("balance-error", {"asset": asset, **more})

    def plan(self, *faults: str | Mapping[str, Any]) -> None:
        """Plan faults, by name or with their settings, behind those that are planned."""
        named = [{"fault": each} if isinstance(each, str) else each for each in faults]
        self.post("faults", {"faults": named})

    def clear_faults(self) -> None:
        """Forget all planned faults, and end chance."""
        self.post("faults", {"clear": True})

    def variant(self, **values: Any) -> dict[str, Any]:
        """Switch variants, of the questions of one `org` where it is named; returns all that hold now."""
        return dict(self.post("variant", values))

    def today(self, **values: Any) -> dict[str, Any]:
        """Set the vendor's clock: `today`, `now` or `advance_s`."""
        return dict(self.post("today", values))

    def expire_tokens(self) -> None:
        """End all sessions."""
        self.post("expire-tokens", {})

    def rotate(self, password: str, user: User | None = None) -> None:
        """Give a user another password, and end all sessions."""
        user = user or User()
        self.post("rotate", {"user": user.name, "org": user.org, "password": password})

    def refuse(self, seconds: float) -> None:
        """Close the port for a while, right after this call."""
        self.post("refuse", {"seconds": Decimal(str(seconds))})

    def handed_out(self, after: int = 0) -> list[dict[str, Any]]:
        """Return everything that was handed out: the oracle."""
        return self._lines(f"handed-out?after={after}")

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """Return every request of the vendor's API."""
        return self._lines(f"requests?after={after}")

    def trades(self) -> list[dict[str, Any]]:
        """Return all trades of the world, with their status and who has them."""
        return self._lines("trades")

    def state(self) -> dict[str, Any]:
        """Return clock, queues, planned faults and variants."""
        return dict(json.loads(self._send(Request(f"{self.url}/_sandbox/state")), parse_float=Decimal))

    def post(self, deed: str, values: Mapping[str, Any]) -> Any:
        """Do one deed of the control API; urllib's HTTPError where it makes no sense."""
        body = json.dumps(values, default=_plain).encode()
        headers = {"Content-Type": "application/json"}
        return json.loads(self._send(Request(f"{self.url}/_sandbox/{deed}", body, headers)), parse_float=Decimal)

    def _ids(self, deed: str, values: Mapping[str, Any], org: str | None = None) -> list[str]:
        return list(self.post(deed, {**values, **_where(org)})["trade_ids"])

    def _lines(self, path: str) -> list[dict[str, Any]]:
        text = self._send(Request(f"{self.url}/_sandbox/{path}"))
        return [json.loads(line, parse_float=Decimal) for line in text.split(b"\n") if line]

    def _send(self, request: Request) -> bytes:
        with self._open(request, timeout=CONTROL_S) as response:
            return bytes(response.read())


def _where(org: str | None) -> dict[str, str]:
    return {} if org is None else {"org": org}


def _plain(value: Any) -> str:
    """Write what JSON does not know as text: decimals keep their digits."""
    return str(value)


class SandboxProcess:
    """A running sandbox: `with SandboxProcess(Options(seed=7)) as sandbox: sandbox.url`."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self._child: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.control = Control("")

    @property
    def user(self) -> User:
        """The first download user, with its secrets."""
        return self.options.users[0]

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._running().pid

    def start(self) -> Self:
        """Start the child and wait until it is ready; its secrets travel in its environment.

        It ends with this process, however this process ends: its standard input is a pipe from here.
        """
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, USERS_VARIABLE: json.dumps([asdict(user) for user in self.options.users])}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "etl.sandbox", "--stop-on-eof", *arguments(self.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment | {"PYTHONPATH": path},
        )
        try:
            self.url = str(json.loads(self._first_line())["url"])
        except BaseException:
            self.kill()
            raise
        self.control = Control(self.url)
        return self

    def stop(self) -> int:
        """Let it end in order, or end it after five seconds; returns its exit code."""
        child = self._running()
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
        return self._reaped(child)

    def kill(self) -> None:
        """End it with SIGKILL."""
        child = self._running()
        child.kill()
        self._reaped(child)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise SandboxStartError("the sandbox has not been started")
        return self._child

    def _output(self) -> IO[bytes]:
        output = self._running().stdout
        if output is None:
            raise SandboxStartError("the sandbox has no standard output")
        return output

    def _first_line(self) -> bytes:
        longest_s = START_S + self.options.trades * len(self.options.users) / TRADES_A_SECOND
        deadline, line = time.monotonic() + longest_s, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output(), selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(deadline - time.monotonic()):
                    raise SandboxStartError(f"the sandbox was not ready within {longest_s:.0f} s")
                part = os.read(self._output().fileno(), 4096)
                if not part:
                    raise SandboxStartError("the sandbox ended before it was ready; its reason is on stderr")
                line += part
        return line

    def _reaped(self, child: subprocess.Popen[bytes]) -> int:
        code = child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        return code


def arguments(options: Options) -> list[str]:
    """Return the command line of these options, without the users, who hold secrets."""
    names = ("port", "seed", "trades", "days_back", "page_size_default", "rate", "second_consumer", "prerender")
    found = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in (*names, "fault_rate")]
    if options.today is not None:
        found.append(f"--today={options.today.isoformat()}")
    if options.start_time is not None:
        found.append(f"--start-time={options.start_time.isoformat()}")
    if options.fault_seed is not None:
        found.append(f"--fault-seed={options.fault_seed}")
    if options.fault_kinds:
        found.append(f"--fault-kinds={','.join(options.fault_kinds)}")
    return found + [f"--variant={name}={value}" for name, value in _variants(options)]


def _variants(options: Options) -> Iterator[tuple[str, str]]:
    for name, value in asdict(options.all_variants()).items():
        yield name, str(value).lower() if isinstance(value, bool) else str(value)
