"""`stp-etl doctor` against the sandbox: what it sees, its exit code, and that it never touches the queue (law 12)."""

import json

import pytest

from etl.cli.checks import holds_secrets
from etl.config import load
from tests.acceptance.program import Program, feed_text, settings_text, until
from tests.databases import change, folder, rows, value


@pytest.fixture
def untouched():
    """Sandboxes whose queue nobody may ask; the test fails where somebody did."""
    watched = []

    def watch(sandbox):
        watched.append((sandbox, touches(sandbox)))
        return sandbox

    yield watch
    for sandbox, before in watched:
        assert touches(sandbox) == before, "the queue was asked"


def touches(sandbox):
    return sum(each["endpoint"] == "messages" for each in sandbox.control.requests())


def checked(ended):
    """Return state and sentence of each check by its name."""
    return {each["check"]: (each["state"], each["seen"]) for each in json.loads(ended.stdout)}


def doctor(program, code):
    ended = program.call("doctor", "--format", "json")
    assert ended.returncode == code, ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr
    return checked(ended)


def test_law_12_a_sound_installation_passes_and_the_queue_is_not_asked(play, program_for, untouched):
    sandbox = play(trades=10)
    program = program_for(sandbox)
    program.file.chmod(0o600)
    untouched(sandbox)

    found = doctor(program, 0)
    table = program.call("doctor")

    assert {name for name, (state, _) in found.items() if state == "fail"} == set()
    wanted = ("settings", "secrets", "database", "pooler", "schema", "rights", "partitions", "disk", "login", "clock")
    assert set(wanted) <= found.keys()
    assert found["clock"] == ("ok", "agrees with the vendor's Date")
    assert (table.returncode, "login" in table.stdout) == (0, True)


def test_the_fixture_would_notice_a_request_of_the_queue(play, program_for):
    sandbox = play(trades=1)
    before = touches(sandbox)

    program_for(sandbox).call("poll")

    assert touches(sandbox) > before


def test_beside_a_daemon_it_says_who_leads(play, program_for, database):
    program = program_for(play(trades=3))
    with program.daemon() as daemon:
        daemon.started()
        until(lambda: rows(database, "SELECT FROM stp.lease WHERE holder IS NOT NULL"), what="a leader")

        found = doctor(program, 0)

        assert daemon.stop() == 0
    assert f":{daemon.process.pid} leads since" in found["lease"][1]
    assert found["system identifier"][0] == "ok"


@pytest.mark.parametrize(
    ("keys", "check", "sentence", "do"),
    [
        (
            {"password": "wrong"}, "login", "refused the login of user apiUser",
            "check base_url, org, user and the secret;",
        ),
        (
            {"base_url": "http://127.0.0.1:9"}, "login", "refused the connection",
            "check base_url, the proxy and the network; org, user and secret were not judged;",
        ),
        ({"password": "", "password_file": "/nowhere/password"}, "settings", "/nowhere/password", "correct it;"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_login_is_named(play, program_for, untouched, keys, check, sentence, do):
    sandbox = untouched(play(trades=3))
    program = program_for(sandbox, **keys)

    ended = program.call("doctor", "--format", "json")

    (found,) = [each for each in json.loads(ended.stdout) if each["check"] == check]
    assert (ended.returncode, found["state"]) == (3, "fail")
    assert sentence in found["seen"]
    assert found["do"].startswith(do)


def test_a_folder_without_a_database_is_named_in_full():
    with folder() as place:
        program = Program(place, '[database]\ndata_dir = "var/trial"\n')
        told = f"there is no embedded database in {place}/var/trial (database.data_dir = var/trial, as seen from the"

        assert told in doctor(program, 3)["database"][1]
        assert told in program.call("status").stderr


def test_a_secret_that_everybody_may_read_is_warned_of(play, program_for, tmp_path):
    sandbox = play(trades=1)
    file = tmp_path / "password"
    file.write_text(sandbox.user.password)
    file.chmod(0o644)
    program = program_for(sandbox, password="", password_file=str(file))
    program.file.chmod(0o600)

    ended = program.call("doctor", "--format", "json")

    warned = [each for each in json.loads(ended.stdout) if each["check"] == "secrets" and each["state"] == "warn"]
    assert ended.returncode == 0, ended.stdout
    assert [each["do"] for each in warned] == [f"chmod o-r {file}"]
    assert sandbox.user.password not in ended.stdout + ended.stderr


def test_without_a_database_and_without_a_schema_it_says_so(play, tmp_path, empty_database):
    sandbox = play(trades=1)
    empty = empty_database.url.set(drivername="postgresql").render_as_string(hide_password=False)

    away = doctor(Program(tmp_path, settings_text("postgresql://x@127.0.0.1:1/none", feed_text(sandbox.url))), 3)
    (tmp_path / "url").write_text("postgresql://x@127.0.0.1:1/none")
    of_file = settings_text("", feed_text(sandbox.url)).replace('url = ""', f'url_file = "{tmp_path / "url"}"')
    in_file = doctor(Program(tmp_path, of_file), 3)
    bare = doctor(Program(tmp_path, settings_text(empty, feed_text(sandbox.url))), 3)

    assert "cannot be reached" in away["database"][1]
    assert away["database"][1].endswith("; check database.url and that it runs")
    assert in_file["database"][1].endswith("; check database.url_file and that it runs")
    assert bare["schema"] == ("fail", "the database has no schema yet; run: stp-etl db upgrade")


def test_rights_another_database_and_foreign_organisations_are_found(play, program_for, database):
    sandbox = play(trades=5)
    program = program_for(sandbox)
    assert program.call("poll").returncode == 0
    change(database, "UPDATE stp.feed SET system_identifier = '4711'")

    found = doctor(program, 3)

    assert found["rights"][0] == "warn"
    assert found["system identifier"][0] == "fail"
    assert "timeline 1; the feed was pulled into system 4711" in found["system identifier"][1]
    org = value(database, "SELECT min(organisation) FROM stp.trade_version")
    assert ("own_orgs" in found) == (org != sandbox.user.org)


def test_wrong_settings_are_each_a_failed_check(tmp_path):
    program = Program(tmp_path, "[database]\nurl = 5\n[feeds.main]\npage_size = 0\n")

    ended = program.call("doctor", "--format", "json")

    assert ended.returncode == 3
    assert {each["check"] for each in json.loads(ended.stdout)} == {"settings"}
    assert len(json.loads(ended.stdout)) > 3


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('[database]\nurl = ""\n', False),
        ('[database]\nurl = "postgresql://etl@db.example/book"\n', False),
        ('[database]\nurl = "postgresql://etl:correct-horse@db.example/book"\n', True),
        ('[publish]\nurl = "postgresql://etl:correct-horse@db.example/book"\n', True),
        ('[alerts]\nurl = "https://hooks.example/key"\n', True),
        ('[feeds.a]\nbase_url = "https://fxi.example"\norg = "o"\nuser = "u"\npassword = "correct-horse"\n', True),
        ('[feeds.a]\nbase_url = "https://fxi.example"\norg = "o"\nuser = "u"\npassword_file = "{}"\n', False),
    ],
)
def test_settings_hold_a_secret_where_one_stands_in_them(tmp_path, text, holds):
    secret, file = tmp_path / "password", tmp_path / "stp-etl.toml"
    secret.write_text("correct-horse")
    file.write_text(text.replace("{}", str(secret)))

    assert holds_secrets(load(file, {}), str(file)) is holds
