"""The sandbox as a process: how it starts, what it shows, how it ends; and that one seed gives one world."""

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from etl.sandbox.control import Control
from etl.sandbox.options import Options, User
from etl.sandbox.process import SandboxProcess, SandboxStartError
from etl.sandbox.server import SandboxServer
from etl.sandbox.world import World
from tests.integration.sandbox_client import START, Client

SMALL = Options(trades=60, start_time=START)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def download(options: Options) -> bytes:
    with SandboxProcess(options) as sandbox:
        client = Client(sandbox.url, sandbox.control, sandbox.user)
        client.login()
        pages = [client.messages(25).content for _ in range(4)]
        rest = [
            client.get("/v2/positions", {"level": "ORG"}).content,
            client.get("/custody/v2/account/balances").content,
        ]
        client.session.close()
    return b"".join(pages + rest)


def test_one_seed_gives_one_world():
    world = download(SMALL)

    assert download(SMALL) == world
    assert download(replace(SMALL, seed=2)) != world


def test_it_says_once_that_it_is_ready_and_ends_in_order_on_a_signal():
    for number in (signal.SIGTERM, signal.SIGINT):
        child = subprocess.Popen(
            [sys.executable, "-m", "etl.sandbox", "--trades=10"],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        ready = json.loads(child.stdout.readline())
        child.send_signal(number)
        rest, _ = child.communicate(timeout=60)

        assert list(ready) == ["event", "url", "user", "org", "orders"]
        assert ready["orders"] == f"{ready['url']}/_sandbox/"
        assert (ready["event"], ready["user"], ready["org"]) == ("sandbox.ready", "apiUser", "pfOrg")
        assert ready["url"].startswith("http://127.0.0.1:")
        assert (child.returncode, rest) == (0, b"")


def test_its_end_does_not_wait_for_an_answer_that_is_to_come_later():
    with SandboxProcess(SMALL) as sandbox:
        client = Client(sandbox.url, sandbox.control, sandbox.user)
        client.login()
        host, port = sandbox.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as waiting:
            lines = ["GET /v2/trades/stp/messages HTTP/1.1", "Host: vendor", f"SSO_TOKEN: {client.token}"]
            waiting.sendall("\r\n".join([*lines, "X-Sandbox-Fault: ghost;delay_s=60", "", ""]).encode())
            time.sleep(0.2)
            began = time.monotonic()
            code = sandbox.stop()
            took = time.monotonic() - began
        client.session.close()

    assert code == 0
    assert took < 30


def test_nothing_is_left_behind():
    for end in ("stop", "kill"):
        sandbox = SandboxProcess(SMALL).start()
        pid = sandbox.pid
        assert is_alive(pid)
        getattr(sandbox, end)()
        assert not is_alive(pid)
        getattr(sandbox, end)()


def test_it_does_not_outlive_a_parent_that_was_killed():
    script = "from etl.sandbox.process import SandboxProcess\nprint(SandboxProcess().start().pid, flush=True)\ninput()"
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.communicate(timeout=60)

    deadline = time.monotonic() + 60
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    """Whether it lives, and does not only wait for an absent parent to take note of its end."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def test_the_end_of_the_block_ends_it_whatever_happens():
    pids = []

    def fail() -> None:
        with SandboxProcess(SMALL) as sandbox:
            pids.append(sandbox.pid)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [is_alive(pid) for pid in pids] == [False]


def test_it_listens_on_loopback_alone():
    with SandboxProcess(SMALL) as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        wanted = f":{port:04X}"
        listening = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
        found = {each[1] for each in listening if each[1].endswith(wanted) and each[3] == "0A"}

    assert found == {f"0100007F{wanted}"}


def test_secrets_are_not_arguments_of_the_process():
    user = User("someone", "very secret", "ownOrg", hmac_secret="more secret")
    with SandboxProcess(replace(SMALL, users=(user,))) as sandbox:
        line = Path(f"/proc/{sandbox.pid}/cmdline").read_bytes()
        client = Client(sandbox.url, sandbox.control, user)
        assert client.login().status_code == 200
        client.session.close()

    assert b"secret" not in line
    assert "secret" not in repr(sandbox.options)


def test_a_port_that_is_taken_is_an_error_of_the_start(capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SandboxStartError):
            SandboxProcess(replace(SMALL, port=taken.getsockname()[1])).start()

    assert "in use" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--variant", "no_such=1"], ["--variant", "contra=2"], ["--fault-kinds", "no_such", "--fault-rate=1"]]
)
def test_senseless_arguments_end_it_with_2(arguments):
    child = subprocess.run(
        [sys.executable, "-m", "etl.sandbox", *arguments],
        cwd=Path(__file__).parents[2], capture_output=True, timeout=120, check=False,
    )  # fmt: skip

    assert (child.returncode, child.stdout) == (2, b"")
    assert b"no such" in child.stderr or b"none of" in child.stderr


def test_users_and_times_can_be_given_on_the_command_line():
    arguments = ["--user=first", "--user=second:word:otherOrg", "--org=oneOrg", "--today=2024-03-13", "--trades=30"]
    more = ["--token-life-s=0.5", "--variant=token_in=header", "--start-time=12:30", "--hmac-secret=key"]
    child = subprocess.Popen(
        [sys.executable, "-m", "etl.sandbox", *arguments, *more],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "STP_SANDBOX_PASSWORD": "from outside"},
    )
    assert child.stdout is not None
    with child.stdout:
        url = json.loads(child.stdout.readline())["url"]
        logins = [
            requests.post(f"{url}/v2/sso/login", json={"user": user, "pass": password, "org": org}, timeout=60)
            for user, password, org in (("first", "from outside", "oneOrg"), ("second", "word", "otherOrg"))
        ]
        child.terminate()
        child.wait(60)

    for answer in logins:
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
        body = answer.json()
        assert body["expiryTime"] - body["serverUTCTime"] == 500
        assert datetime.fromtimestamp(body["serverUTCTime"] // 1000, UTC).isoformat().startswith("2024-03-13T12:30:")


def test_whoever_connects_as_the_port_is_closed_is_not_left_without_a_word():
    """The connection is accepted in the very turn of the loop in which the port is closed."""

    async def close_as_somebody_comes() -> bytes | None:
        server = SandboxServer(Options(trades=0))
        serving = asyncio.create_task(server.serve(sockets=[server._socket]))
        while not server.started:
            await asyncio.sleep(0.01)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            await asyncio.sleep(0)
            refusing = asyncio.create_task(server.refuse(0.1))
            await refusing
            ended = await asyncio.to_thread(_end_of, client)
        await asyncio.sleep(0.3)  # until it listens again
        server.should_exit = True
        await serving
        return ended

    assert asyncio.run(close_as_somebody_comes()) == b""


def _end_of(client: socket.socket) -> bytes | None:
    """Return nothing at all where the other side ended the connection, and None where it says nothing."""
    try:
        return client.recv(1)
    except ConnectionResetError:
        return b""
    except TimeoutError:
        return None


def test_a_page_lists_all_that_it_can_be_told_and_each_call_on_it_works():
    with SandboxProcess(SMALL) as sandbox:
        page = requests.get(f"{sandbox.url}/_sandbox/", timeout=60)
        calls = [shlex.split(line) for line in page.text.splitlines() if line.startswith("  curl ")]
        last = [call for call in calls if call[1].endswith("/refuse")]
        answers = {
            call[1]: requests.post(call[1], data=call[3], timeout=60)
            if len(call) > 2
            else requests.get(call[1], timeout=60)
            for call in [each for each in calls if each not in last] + last
        }

    assert page.headers["content-type"].startswith("text/plain")
    assert {url: answer.text for url, answer in answers.items() if answer.status_code != 200} == {}
    control = {route.path for route in Control(World(SMALL), refused).routes()}
    assert {url.removeprefix(sandbox.url) for url in answers} == control
    assert "headers_then_silence" in page.text


async def refused(_: float) -> None:
    """Close no port: only the paths are looked at."""
