"""Known secrets are planted wherever one can stand, and found nowhere that a person or a machine can read."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from etl.sandbox.options import User
from etl.store.database import Database
from tests.acceptance.program import Daemon, Program, feed_text, settings_text, until
from tests.contract.scripted_vendor import QUEUE, ScriptedVendor, answer, logged_in
from tests.databases import rows
from tests.receivers import FAILS, Receiver

LOGIN = "/v2/sso/login"
SECRETS = {
    "a password in the settings": 'planted-inline "5f1" ü',
    "a password in the environment": "planted-env-8c2",
    "a password in a file": "planted-file-1d9",
    "an HMAC secret in a file": "planted-hmac-77a",
    "the database's password": "planted-database-3e0",
    "a session token": "planted-token-b64",
    "a session token in a cookie": "planted-cookie-902",
    "credentials in a URL of the vendor": "planted-in-url-4c8",
    "the key in the address of the webhook": "planted-hook-5c3",
    "the secret that signs alerts": "planted-signs-a61",
}
FORMS = {
    name: {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], secret.replace('"', '\\"')}
    for name, secret in SECRETS.items()
}
ECHO = json.dumps(
    {
        "errorMessage": " ".join(list(SECRETS.values())[:6]),  # those that we know
        "pass": SECRETS["a password in the settings"],
        "SSO_TOKEN": SECRETS["a session token"],
        "help": f"https://api:{SECRETS['credentials in a URL of the vendor']}@help.example/",
    }
).encode()
COOKIE = f"Set-Cookie: SSO_TOKEN={SECRETS['a session token in a cookie']}; Path=/"


def planted(
    folder: Path, vendor: ScriptedVendor, receiver: Receiver, database_url: str
) -> tuple[Program, dict[str, str]]:
    """Return the program with a secret in each place, and the variables of its environment."""
    kept = {}
    for name in ("a password in a file", "an HMAC secret in a file"):
        kept[name] = folder / name.replace(" ", "-")
        kept[name].write_text(f"{SECRETS[name]}\n")
        kept[name].chmod(0o600)
    url = make_url(database_url).set(password=SECRETS["the database's password"])
    feeds = [
        feed_text(vendor.url, User("inline", SECRETS["a password in the settings"]), name="inline"),
        feed_text(vendor.url, User("env"), name="env", password=""),
        feed_text(vendor.url, User("file"), name="file", password="", password_file=str(kept["a password in a file"])),
        feed_text(
            vendor.url, User("hmac"), name="hmac", password="", auth="hmac",
            secret_file=str(kept["an HMAC secret in a file"]),
        ),
    ]  # fmt: skip
    hook = receiver.url.replace("hook-key-1234", SECRETS["the key in the address of the webhook"])
    alerts = f'[alerts]\nurl = "{hook}"\nsecret = "{SECRETS["the secret that signs alerts"]}"\n'
    text = settings_text(url.render_as_string(hide_password=False), *feeds, alerts, ops='log_level = "debug"')
    return Program(folder, text), {"STP_ETL__FEEDS__ENV__PASSWORD": SECRETS["a password in the environment"]}


def hostile(vendor: ScriptedVendor) -> None:
    """Let the vendor repeat every secret in each kind of answer."""
    token = SECRETS["a session token"]
    vendor.will(*[logged_in(token, COOKIE) for _ in range(3)], answer(401, ECHO), answer(500, ECHO), path=LOGIN)
    vendor.will(*[answer(status, ECHO, COOKIE) for status in (500, 400, 401, 404, 429, 503)])
    vendor.will(answer(200, b"<html>" + ECHO), answer(401, ECHO), answer(401, ECHO), answer(500, ECHO))
    vendor.will(*[answer(status, ECHO) for status in (500, 403)], path="/v2/trades/stp/resend")


COMMANDS = (
    ["alerts", "test"], ["config", "show"], ["--debug", "poll", "--feed", "inline"], ["status"], ["config", "check"],
    ["incidents", "list", "--format", "json"], ["gaps", "list"], ["resends", "list"], ["audit", "list"],
    ["alerts", "list"],
)  # fmt: skip


def shown(program: Program, daemon: Daemon, database: Database, *, commands: int) -> Iterator[tuple[str, str]]:
    """Yield everything that a person or a machine may read of the daemon, with where it stands."""
    yield "the log", daemon.said
    base = daemon.events("ops.listening")[0]["url"]
    for page in ("metrics", "readyz", "livez", "version"):
        yield page, page_text(f"{base}/{page}")
    yield "the arguments of the process", Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes().decode()
    for (table,) in rows(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'stp'"):
        # The vendor's own bytes stay as they came (law 5), even where it repeats a secret: answer.body is left out.
        found = rows(database, f"SELECT (to_jsonb(t) - 'body')::text FROM stp.\"{table}\" t")
        yield f"table {table}", "\n".join(text for (text,) in found)
    numbers = [str(number) for (number,) in rows(database, "SELECT id FROM stp.incident ORDER BY id LIMIT 3")]
    for words in (*(["incidents", "show", number] for number in numbers[:commands]), *COMMANDS[:commands]):
        ended = program.call(*words)
        yield f"stp-etl {' '.join(words)}", ended.stdout + ended.stderr


def page_text(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=60) as answered:
            return str(answered.read().decode())
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


@pytest.mark.timeout(300)  # a dozen commands, each a process
@pytest.mark.parametrize("commands", [2, pytest.param(len(COMMANDS), marks=pytest.mark.nightly)])
def test_no_secret_leaves_the_process_by_any_way(tmp_path, database_url, database, commands):
    with ScriptedVendor() as vendor, Receiver(FAILS) as receiver:
        hostile(vendor)
        program, variables = planted(tmp_path, vendor, receiver, database_url)
        with program.daemon(**variables) as daemon:
            daemon.started()
            until(lambda: len(vendor.asked_for(QUEUE)) > 14, what="the hostile answers")
            until(lambda: rows(database, "SELECT FROM stp.incident"), what="an incident")
            until(lambda: daemon.events("alert.not_sent"), what="an alert")
            until(lambda: daemon.events("poll.in_doubt") and daemon.events("job.refused"), what="trouble in the log")
            program.file.write_text(
                program.file.read_text().replace(
                    'password = ""', f'password = "{SECRETS["a password in the environment"]}"'
                )
            )  # for the commands, which have no variable
            read = dict(shown(program, daemon, database, commands=commands))
            assert daemon.stop() == 0
            read["the log"] = daemon.said
            read["what the receiver of alerts got"] = repr([(headers, body) for _, headers, body in receiver.got])

    found = [
        f"{name} stands in {where}: …{text[max(0, text.index(form) - 80) : text.index(form) + 40]}…"
        for where, text in read.items()
        for name, forms in FORMS.items()
        for form in forms
        if form in text
    ]
    assert found == []
    assert re.search(r"\*{8}", read["table incident"])  # something was there to be masked
    assert "[hidden]" in read["table incident"]
    assert "stp_etl_polls_total" in read["metrics"]
    assert receiver.got
    assert all(SECRETS["the key in the address of the webhook"] in path for path, _, _ in receiver.got)
    assert any(where.startswith("stp-etl incidents show") for where in read)


def test_a_secret_that_is_planted_would_be_found(tmp_path):
    text = f"login of apiUser with {SECRETS['a password in a file']}"

    assert [name for name, forms in FORMS.items() if any(form in text for form in forms)] == ["a password in a file"]
