"""`stp-etl doctor` on a machine that is not as it should be: room, clock, certificates, secrets, rights; what to do."""

import json
import os
import shutil
import ssl
from pathlib import Path

import pytest
from sqlalchemy import make_url

from etl.cli.checks import MIB, CheckState, room
from tests.acceptance.program import Program, feed_text, settings_text
from tests.certificates import a_certificate_of_our_own
from tests.contract.scripted_vendor import ScriptedVendor
from tests.databases import change

GIB = 1024 * MIB
NTP = "synchronise this machine's clock (NTP)"


def doctor(program, code):
    """Return what doctor finds: for each check that is not `ok`, by its name and feed, its state, sentence and deed."""
    ended = program.call("doctor", "--format", "json")
    assert ended.returncode == code, ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr
    found = [each for each in json.loads(ended.stdout) if each["state"] != "ok"]
    return {(each["check"], each["feed"]): (each["state"], each["seen"], each["do"]) for each in found}


def small_places():
    """Yield file systems of this machine with less room than a database should have."""
    for line in Path("/proc/mounts").read_text().splitlines():
        place = Path(line.split()[1])
        if place.is_dir() and 0 < shutil.disk_usage(place).total < 500 * MIB:
            yield place


def test_a_data_dir_on_a_disk_that_is_too_small_fails(tmp_path):
    place = next(small_places(), None)
    if place is None:
        pytest.skip("this machine has no file system below 500 MiB")
    program = Program(tmp_path, f'[database]\ndata_dir = "{place}/stp-etl/postgres"\n')

    state, seen, do = doctor(program, 3)["disk", None]

    assert state == "fail"
    assert " MiB free, " in seen
    assert do == "make room: a full database takes no trades, so none are asked for"


@pytest.mark.parametrize(
    ("total", "free", "state", "do"),
    [
        (100 * GIB, 50 * GIB, CheckState.OK, ""),
        (100 * GIB, 9 * GIB, CheckState.WARN, "make room soon"),
        (100 * GIB, 1 * GIB, CheckState.FAIL, "make room: a full database takes no trades, so none are asked for"),
        (1 * GIB, 499 * MIB, CheckState.FAIL, "make room: a full database takes no trades, so none are asked for"),
        (0, 0, CheckState.WARN, "watch the disk by other means"),
    ],
)
def test_little_room_is_warned_of_and_too_little_fails(monkeypatch, total, free, state, do):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(total, total - free, free))

    found = room(Path("/var/lib/postgresql"), "data_dir")

    assert (found.check, found.state, found.do) == ("disk", state, do)
    assert "data_dir /var/lib/postgresql" in found.seen


@pytest.fixture
def tls_vendor(tmp_path):
    """A vendor with a certificate that nobody has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*a_certificate_of_our_own(tmp_path))
    with ScriptedVendor(tls=context) as running:
        yield running


def test_clocks_and_certificates_are_looked_at_for_each_feed_and_no_queue_is_asked(
    play, tmp_path, database_url, tls_vendor
):
    rubbish = tmp_path / "authority.pem"
    rubbish.write_text("not a certificate")
    behind, ahead = (play(trades=1, settings={"date_offset_s": offset}) for offset in ("3600", "-3600"))
    feeds = [
        feed_text(behind.url, name="behind"),
        feed_text(ahead.url, name="ahead"),
        feed_text(tls_vendor.url, name="unsigned"),
        feed_text("https://127.0.0.1:9", name="rubbish", ca_file=str(rubbish)),
    ]

    found = doctor(Program(tmp_path, settings_text(database_url, *feeds)), 3)

    for feed in ("behind", "ahead"):
        state, seen, do = found["clock", feed]
        assert (state, f" s {feed}" in seen, do) == ("fail", True, NTP)
    state, seen, do = found["login", "unsigned"]
    assert (state, "was not accepted: self" in seen, "name its file as ca_file" in seen) == ("fail", True, True)
    assert do.startswith("check base_url, the proxy and the network; org, user and secret were not judged")
    state, seen, do = found["login", "rubbish"]
    assert (state, f"ca_file: {rubbish} cannot be used" in seen) == ("fail", True)
    assert do == "name a file of certificates, as PEM; nothing was asked"
    assert tls_vendor.asked == []
    asked = [each["endpoint"] for sandbox in (behind, ahead) for each in sandbox.control.requests()]
    assert (len(asked), "messages" in asked) == (4, False)


def test_a_clock_that_is_half_a_minute_apart_is_warned_of(play, program_for):
    state, seen, do = doctor(program_for(play(trades=1, settings={"date_offset_s": "30"})), 0)["clock", "main"]

    assert (state, do) == ("warn", "synchronise this machine's clock")
    assert " s apart from the vendor's Date" in seen


def test_secrets_that_cannot_be_read_are_all_named(tmp_path, database_url):
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").write_text("sandbox")
    (tmp_path / "closed").chmod(0)
    files = ("empty", "folder", "missing", *(() if os.geteuid() == 0 else ("closed",)))  # root may read all
    feeds = [
        feed_text("http://127.0.0.1:9", name=name, org=name, password="", password_file=str(tmp_path / name))
        for name in files
    ]

    ended = Program(tmp_path, settings_text(database_url, *feeds)).call("doctor", "--format", "json")

    found = json.loads(ended.stdout)
    assert ended.returncode == 3
    assert all((each["state"], each["do"] != "") == ("fail", True) for each in found)
    for name in files:
        assert [each for each in found if f'feeds.{name}.password_file = "{tmp_path / name}"' in each["seen"]], name


def test_a_right_that_is_missing_is_named_with_what_gives_it_back(play, program_for, database, database_url, role):
    program = program_for(play(trades=1))
    owner, as_role = program.file.read_text(), make_url(database_url).set(username=role).render_as_string(False)
    assert program.call("db", "grants", "--daemon-role", role).returncode == 0
    change(database, f"REVOKE INSERT ON stp.answer FROM {role}")
    program.file.write_text(owner.replace(database_url, as_role))

    state, seen, do = doctor(program, 3)["rights", None]

    assert (state, seen) == ("fail", "not granted: INSERT on stp.answer")
    assert do == "as the owner of the schema: stp-etl db grants --daemon-role ROLE"


def test_a_role_without_any_right_is_told_so(play, program_for, database_url, role):
    program = program_for(play(trades=1))
    as_role = make_url(database_url).set(username=role).render_as_string(False)
    program.file.write_text(program.file.read_text().replace(database_url, as_role))

    state, seen, do = doctor(program, 3)["rights", None]

    assert (state, "permission denied for schema stp" in seen) == ("fail", True)
    assert do == "as the owner of the schema: stp-etl db grants --daemon-role ROLE"
