"""`stp-etl config` as an operator uses it: a process with a file and an environment."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config" / "stp-etl.toml"
FEED = """
[feeds.main]
base_url = "https://fxi.example"
org = "pfOrg"
user = "apiUser"
password = "correct-horse"
"""


@pytest.fixture
def stp_etl(tmp_path):
    """Run the command line in an empty folder, with nothing in the environment but what is given."""

    def call(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environ["PYTHONPATH"] = str(ROOT)
        command = [sys.executable, "-m", "etl.cli.main", *words]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(FEED)
    return str(path)


def test_show_lists_every_key_with_its_origin_and_no_secret(stp_etl, file):
    result = stp_etl("--config", file, "config", "show", "--format", "json", STP_ETL__FEEDS__MAIN__PAGE_SIZE="20")

    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(result.stdout)}
    assert result.returncode == 0
    assert rows["feeds.main.org"] == ("pfOrg", file)
    assert rows["feeds.main.password"] == ("********", file)
    assert rows["feeds.main.page_size"] == (20, "STP_ETL__FEEDS__MAIN__PAGE_SIZE")
    assert rows["ops.listen"] == ("127.0.0.1:8080", "default")


@pytest.mark.parametrize("fmt", ["table", "csv"])
def test_show_can_be_read_by_people_and_spreadsheets(stp_etl, file, fmt):
    result = stp_etl("config", "show", "--format", fmt, STP_ETL_CONFIG=file)

    assert "feeds.main.password" in result.stdout
    assert "correct-horse" not in result.stdout + result.stderr
    if fmt == "csv":
        assert {len(row) for row in csv.reader(io.StringIO(result.stdout))} == {3}


def test_check_says_that_sound_settings_are_sound(stp_etl, file):
    result = stp_etl("--config", file, "config", "check")

    assert (result.returncode, result.stdout) == (0, "")
    assert f"settings from {file} and 0 environment variables are sound" in result.stderr


def test_check_reports_every_fault_and_ends_with_2(stp_etl, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(FEED + "poll_interval_s = -5\nown_orgs = 3\n[opps]\n")

    result = stp_etl("--config", str(file), "config", "check", STP_ETL__FEEDS__MAIN__PASWORD="battery-staple")

    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"stp-etl: 4 faults in the settings of {file}:",
        "  feeds.main.own_orgs = 3: must be a list, such as [\"A\", \"B\"]",
        "  feeds.main.pasword (STP_ETL__FEEDS__MAIN__PASWORD): unknown key; did you mean password?",
        "  feeds.main.poll_interval_s = -5: must be at least 0.1 (seconds)",
        "  opps: unknown key; did you mean ops?",
    ]  # fmt: skip


def test_check_tells_warnings_and_that_there_is_no_feed(stp_etl, tmp_path):
    nothing = stp_etl("config", "check")
    assert nothing.returncode == 0
    assert "settings from no file" in nothing.stderr
    assert "warning: feeds: none is configured" in nothing.stderr

    password = tmp_path / "password"
    password.write_text("x")
    password.chmod(0o644)
    loose = stp_etl("--config", str(EXAMPLE), "config", "check", STP_ETL__FEEDS__MAIN__PASSWORD_FILE=str(password))
    assert loose.returncode == 0
    assert f"warning: feeds.main.password_file: anyone on this machine may read {password}" in loose.stderr


def test_of_a_file_that_nobody_named_it_is_said_how_to_name_another(stp_etl, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "stp-etl.toml").write_text(FEED + "poll_interval_s = -5\n")

    result = stp_etl("config", "check")

    assert result.returncode == 2
    assert result.stderr.startswith(
        "stp-etl: settings of config/stp-etl.toml (found there; another one: --config FILE or STP_ETL_CONFIG): feeds."
    )


def test_a_missing_file_is_a_fault_without_a_traceback(stp_etl):
    result = stp_etl("--config", "nowhere.toml", "config", "check")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "stp-etl: nowhere.toml: cannot be read: no such file or directory\n"


def test_debug_shows_where_an_error_came_from(stp_etl):
    result = stp_etl("--debug", "--config", "nowhere.toml", "config", "check")

    assert result.returncode == 2
    assert "Traceback" in result.stderr


def test_a_wrong_option_is_a_wrong_usage(stp_etl):
    assert stp_etl("config", "show", "--format", "xml").returncode == 2
    assert stp_etl("--colour").returncode == 2


def test_looking_without_settings_makes_no_database(stp_etl, tmp_path):
    result = stp_etl("trades", "list")

    assert (result.returncode, result.stdout) == (1, "")
    assert "no database.url is set and there is no embedded database in" in result.stderr
    assert "stp-etl db upgrade" in result.stderr
    assert not (tmp_path / "var").exists()
