"""Where settings come from, what is wrong with them, and that secrets never show."""

import json
import os
import re
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl.config import MASK, FeedSettings, OpsSettings, Secret, Settings, load
from etl.errors import ConfigError, OperatorError

FEED = """
[feeds.main]
base_url = "https://fxi.example"
org = "pfOrg"
user = "apiUser"
password = "correct horse"
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Start in an empty folder, so that the example in the repository is not found."""
    monkeypatch.chdir(tmp_path)


def a_file(text: str, name: str = "stp-etl.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def settings(text: str = FEED, **environ: str) -> Settings:
    return load(a_file(text), environ)


def faults(text: str = FEED, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(a_file(text), environ)
    return caught.value.faults


def test_without_a_file_or_environment_the_defaults_hold():
    found = load(None, {})

    assert found.source.file is None
    assert found.feeds == {}
    assert found.booking.batch_kib == 1000
    assert found.reconciliation.business_day_ends.isoformat("minutes") == "17:00"
    assert found.reconciliation.zone.key == "America/New_York"


def test_a_feed_can_come_from_the_environment_alone():
    found = load(
        None,
        {
            "STP_ETL__FEEDS__MAIN__BASE_URL": "https://fxi.example/",
            "STP_ETL__FEEDS__MAIN__ORG": "pfOrg",
            "STP_ETL__FEEDS__MAIN__USER": "apiUser",
            "STP_ETL__FEEDS__MAIN__PASSWORD": "s3cret",
        },
    )

    feed = found.feed("main")
    assert (feed.name, feed.identity) == ("main", ("https://fxi.example", "pfOrg", "apiUser"))
    assert feed.password is not None
    assert feed.password.reveal() == "s3cret"


def test_the_usual_file_is_found_in_the_working_directory():
    Path("config").mkdir()
    a_file("[ops]\nshutdown_grace_s = 7", "config/stp-etl.toml")

    assert load(None, {}).ops.shutdown_grace_s == 7


def test_the_variable_names_the_file_and_the_option_goes_before_it():
    one, other = a_file("[ops]\nshutdown_grace_s = 1", "one"), a_file("[ops]\nshutdown_grace_s = 2", "other")

    assert load(None, {"STP_ETL_CONFIG": str(one)}).ops.shutdown_grace_s == 1
    assert load(other, {"STP_ETL_CONFIG": str(one)}).source.file == other


@pytest.mark.parametrize("environ", [{}, {"STP_ETL_CONFIG": "nowhere.toml"}])
def test_a_file_that_was_asked_for_must_exist(environ):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: no such file"):
        load(None if environ else Path("nowhere.toml"), environ)


def test_a_syntax_error_is_told_with_its_line():
    assert faults("[ops]\nlisten = \n")[0].startswith("stp-etl.toml: is not TOML: ")
    assert "line 2" in faults("[ops]\nlisten = \n")[0]


def test_the_environment_goes_before_the_file():
    found = settings(
        FEED.replace("main", "Main-1") + "own_orgs = ['x']\n[feeds.Main-1.field_aliases]\nrate = ['r']",
        STP_ETL__FEEDS__MAIN_1__PAGE_SIZE="20",
        STP_ETL__FEEDS__MAIN_1__POLL_INTERVAL_S="0.5",
        STP_ETL__FEEDS__MAIN_1__OWN_ORGS="pfOrg, other",
        STP_ETL__FEEDS__MAIN_1__BALANCE_ASSETS='["USD", "BTC"]',
        STP_ETL__FEEDS__MAIN_1__FIELD_ALIASES__SETTLED_AMOUNT="settledAmt,contraAmt",
        STP_ETL__RECONCILIATION__ADOPT_STATUS="false",
        STP_ETL__RECONCILIATION__TOLERANCE_UNITS__JPY="1",
        STP_ETL__RECONCILIATION__MINOR_UNIT_DIGITS='{"BTC": 8}',
        STP_ETL__RECONCILIATION__SWEEP_AT="18:05",
    )

    feed = found.feeds["Main-1"]
    assert (feed.page_size, feed.poll_interval_s) == (20, 0.5)
    assert (feed.own_orgs, feed.balance_assets) == (("pfOrg", "other"), ("USD", "BTC"))
    assert feed.field_aliases == {"rate": ("r",), "settled_amount": ("settledAmt", "contraAmt")}
    assert found.reconciliation.adopt_status is False
    assert found.reconciliation.tolerance_units == {"JPY": 1}
    assert found.reconciliation.minor_unit_digits == {"BTC": 8}
    assert found.shown()["reconciliation.sweep_at"].origin == "STP_ETL__RECONCILIATION__SWEEP_AT"
    assert found.shown()["feeds.Main-1.org"].origin == "stp-etl.toml"
    assert found.shown()["ops.listen"].origin == "default"


def test_an_empty_variable_takes_back_what_the_file_says():
    found = settings(FEED + "proxy = 'http://proxy.example:3128'", STP_ETL__FEEDS__MAIN__PROXY="")

    assert found.feed(None).proxy is None


def test_only_a_compared_asset_can_settle_at_execution():
    compared = 'balance_assets = ["BTC", "USD"]\nsettled_at_execution = ["BTC"]'

    assert settings(FEED + compared).feed(None).settled_at_execution == ("BTC",)
    assert faults(FEED + compared.replace('["BTC"]', '["BTC", "ETH"]')) == (
        'feeds.main.settled_at_execution[1] = "ETH": '
        "must be one of balance_assets: no other asset's balance is compared",
    )


def test_a_secret_of_the_environment_replaces_the_file_of_the_settings():
    text = FEED.replace('password = "correct horse"', 'password_file = "/nowhere/password"')

    password = settings(text, STP_ETL__FEEDS__MAIN__PASSWORD="battery").feed(None).password

    assert password is not None
    assert password.reveal() == "battery"


def test_every_fault_is_reported_at_once():
    text = """
    [database]
    url = "mysql://u:hunter22@h/db"
    [feeds.main]
    base_url = "http://example.com/x"
    org = ""
    pol_interval_s = 3
    poll_interval_s = -5
    page_size = "x"
    own_orgs = ["a", 3]
    auth = "tokn"
    client_key_file = "/nowhere/key"
    [feeds.other]
    auth = "hmac"
    base_url = "https://u:hunter22@h"
    [reconciliation]
    sweep = "never"
    level = "org"
    adopt_status = "yes"
    business_day_ends = "25:00"
    quiet_from = "23:00"
    timezone = "America"
    tolerance_units = {usd = -1}
    [ops]
    listen = "x"
    [recon]
    """

    found = faults(text, STP_ETL__FEEDS__MAIN__PASWORD="hunter22", STP_ETL__OPS__SHUTDOWN_GRACE_S="abc")

    assert [line.split(" = ")[0].split(":")[0] for line in found] == [
        "database.url",
        "feeds.main.auth",
        "feeds.main.base_url",
        "feeds.main.client_key_file",
        "feeds.main.org",
        "feeds.main.own_orgs[1]",
        "feeds.main.page_size",
        "feeds.main.pasword (STP_ETL__FEEDS__MAIN__PASWORD)",
        "feeds.main.pol_interval_s",
        "feeds.main.poll_interval_s",
        "feeds.main.user",
        "feeds.other.base_url",
        "feeds.other.org",
        "feeds.other.secret",
        "feeds.other.user",
        "ops.listen",
        "ops.shutdown_grace_s",
        "recon",
        "reconciliation.adopt_status",
        "reconciliation.business_day_ends",
        "reconciliation.level",
        "reconciliation.quiet_until",
        "reconciliation.sweep",
        "reconciliation.timezone",
        "reconciliation.tolerance_units.USD",
    ]
    assert not any("hunter22" in line for line in found)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("poll_interval_s = -5", "feeds.main.poll_interval_s = -5: must be at least 0.1 (seconds)"),
        ("poll_interval_s = nan", "feeds.main.poll_interval_s = nan: must be a finite number"),
        ("max_answer_mib = 129", "feeds.main.max_answer_mib = 129: must be at most 128 (MiB)"),
        ("history_days = 1.5", "feeds.main.history_days = 1.5: must be a whole number"),
        ("page_size = true", "feeds.main.page_size = true: must be a whole number"),
        ('auth = "tokn"', 'feeds.main.auth = "tokn": must be one of "token", "hmac"'),
        ("pol_interval_s = 3", "feeds.main.pol_interval_s: unknown key; did you mean poll_interval_s?"),
        ('own_orgs = "pfOrg"', 'feeds.main.own_orgs = "pfOrg": must be a list, such as ["A", "B"]'),
        ("field_aliases = 3", "feeds.main.field_aliases: must be a table"),
        ('proxy = "proxy:3128"', 'feeds.main.proxy = "proxy:3128": must be an address such as https://host/path'),
        ('secret_file = "."', 'feeds.main.secret_file = ".": cannot be read: is a directory'),
        ('client_key_file = "stp-etl.toml"', "feeds.main.client_key_file: needs client_cert_file too"),
        ("error_pause_min_s = 400", "feeds.main.error_pause_max_s = 300: must not be less than error_pause_min_s"),
    ],
)
def test_a_fault_names_the_key_the_value_and_what_is_allowed(key, line):
    assert faults(FEED + key) == (line,)


def test_a_value_of_the_environment_is_told_with_its_variable():
    assert faults(STP_ETL__FEEDS__MAIN__HISTORY_DAYS="0") == (
        "feeds.main.history_days = 0 (STP_ETL__FEEDS__MAIN__HISTORY_DAYS): must be at least 1 (days)",
    )


@pytest.mark.parametrize("name", ["STP_ETL__OPS", "STP_ETL__", "STP_ETL__OPS__", "STP_ETL__FEEDS__MAIN"])
def test_a_variable_that_names_no_key_is_a_fault(name):
    assert len(faults(**{name: "x"})) == 1


@pytest.mark.parametrize("text", ["feeds = 3", "[feeds]\nmain = 'hunter22'", "ops = 'hunter22'", "database = []"])
def test_a_value_in_the_place_of_a_table_is_a_fault_and_not_shown(text):
    found = faults(text)

    assert [line.split(": ")[1] for line in found] == ["must be a table"]
    assert "hunter22" not in found[0]


@pytest.mark.parametrize("host", ["127.0.0.1:8443", "127.8.0.1", "[::1]:80", "localhost:1"])
def test_plain_http_is_allowed_to_this_machine(host):
    assert settings(FEED.replace("https://fxi.example", f"http://{host}/api/")).feeds


@pytest.mark.parametrize(
    "url", ["http://fxi.example", "http://127.0.0.1.example", "http://localhost.example", "ftp://127.0.0.1", "fxi",
            "https://", "https://a b", "https://h?x=1", "https://h#x", "https://[::1", "https://h:99999"]
)  # fmt: skip
def test_other_addresses_are_faults(url):
    assert len(faults(FEED.replace("https://fxi.example", url))) == 1


def test_the_same_queue_twice_is_a_fault():
    again = FEED.replace("main", "again").replace("https://fxi.example", "https://FXI.example:443/")

    assert faults(FEED + again) == (
        "feeds.again: has the same base_url, org and user as feeds.main; a queue has one reader only",
    )


def test_feeds_that_the_environment_could_not_tell_apart_are_a_fault():
    found = faults(FEED.replace("main", "a-b") + FEED.replace("main", "A_B").replace("pfOrg", "other"))

    assert found == ("feeds.A_B: cannot be told from feeds.a-b in environment variables; rename one",)


@pytest.mark.parametrize("name", ['"a__b"', '"a b"', '""', '"ä"', f'"{"a" * 41}"'])
def test_a_feed_name_must_fit_into_a_variable(name):
    assert "a feed's name has" in faults(FEED.replace("main", name))[0]


def test_an_alias_needs_a_field_of_ours():
    text = FEED + "[feeds.main.field_aliases]\nsetled_amount = ['settledAmt']"

    assert load(a_file(text), {}).feeds
    with pytest.raises(ConfigError, match="setled_amount: unknown field; did you mean settled_amount"):
        load(a_file(text), {}, field_names=["settled_amount", "rate"])


def test_a_secret_never_shows(tmp_path):
    text = FEED + '[database]\nurl = "postgresql://stp:correct%20horse@db.example/stp?password=correct%20horse"'

    found = settings(text)

    assert found.shown()["feeds.main.password"].value == MASK
    assert found.shown()["database.url"].value == f"postgresql://stp:{MASK}@db.example/stp?password={MASK}"
    everything = f"{found!r} {found} {found.shown()} {found.feed(None).password:}"
    assert not re.search("correct(%20| )horse", everything)


def test_a_traceback_shows_no_secret_either():
    with pytest.raises(ConfigError) as caught:
        settings(FEED + "pasword = 'hunterX'\nsecret = ['hunterX']\nproxy = 'x://u:hunterX@h'".replace("X", "22"))

    assert "hunter22" not in "".join(traceback.format_exception(caught.value))


values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["", "http://", "[", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(sorted({*FeedSettings.model_fields, *OpsSettings.model_fields, "unknown"}))


def faults_or_none(path: Path | None, environ: dict[str, str]) -> tuple[str, ...] | None:
    try:
        load(path, environ)
    except ConfigError as error:
        return error.faults
    return None


def as_toml(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{as_toml(str(key))} = {as_toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(as_toml, value)) + "]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
        case bool() | float() | int():
            return str(value).lower()
        case _:
            raise TypeError(value)


@given(feed=st.dictionaries(keys, values, max_size=4) | values, ops=st.dictionaries(keys, values, max_size=3) | values)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_stands_in_the_file_is_taken_or_is_a_fault(feed, ops):
    text = f"feeds = {{main = {as_toml(feed)}}}\nops = {as_toml(ops)}"

    found = faults_or_none(a_file(text), {})

    assert found is None or (found and "is not TOML" not in found[0])


@pytest.mark.parametrize("key", ["ca_file", "password_file"])
@pytest.mark.parametrize(("name", "said"), [("\ud800", "its name is no text"), ("a\0b", "null byte")])
def test_a_file_whose_name_no_system_takes_is_a_fault(key, name, said):
    found = faults_or_none(None, {f"STP_ETL__FEEDS__MAIN__{key.upper()}": name})

    assert found is not None
    assert any(key in line and said in line for line in found), found


@given(
    given_keys=st.dictionaries(keys, st.text(st.characters(exclude_characters="\0"), max_size=8), max_size=5),
    section=st.sampled_from(["FEEDS__MAIN", "OPS", "RECONCILIATION", "DATABASE", "FEEDS", "NOTHING"]),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_stands_in_the_environment_is_taken_or_is_a_fault(given_keys, section):
    found = faults_or_none(None, {f"STP_ETL__{section}__{key.upper()}": text for key, text in given_keys.items()})

    assert found is None or all(": " in line for line in found)


def test_a_password_that_looks_like_an_address_does_not_show_either():
    found = settings(FEED.replace("correct horse", "a://b:c"))

    assert found.shown()["feeds.main.password"].value == MASK


def test_a_secret_in_a_file_is_read_again_at_each_use():
    file = a_file("first\n", "password")
    file.chmod(0o600)
    found = settings(FEED.replace('password = "correct horse"', 'password_file = "password"'))
    password = found.feed(None).password
    assert isinstance(password, Secret)
    assert password.reveal() == "first"

    file.write_text("second\r\n")
    assert password.reveal() == "second"

    file.unlink()
    with pytest.raises(OperatorError, match="secret file password: cannot be read: no such file"):
        password.reveal()
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"a\nb\n", "holds more than one line"), (b"\xff", "is not UTF-8 text")],
)
def test_a_secret_file_must_hold_one_line_of_text(content, why):
    Path("password").write_bytes(content)

    assert faults(FEED.replace('password = "correct horse"', 'password_file = "password"')) == (
        f'feeds.main.password_file = "password": {why}',
    )


def test_a_secret_that_is_given_twice_is_a_fault():
    a_file("x", "password")

    assert faults(FEED + 'password_file = "password"') == (
        "feeds.main.password: is given twice, here and as password_file; leave one out",
    )


def test_a_secret_file_that_anyone_may_read_is_a_warning():
    a_file("x", "password").chmod(0o644)

    found = settings(FEED.replace('password = "correct horse"', 'password_file = "password"'))

    assert found.warnings == ("feeds.main.password_file: anyone on this machine may read password; chmod o-r it",)


def test_the_database_address_can_stand_in_a_file():
    a_file("postgresql://stp:hunter22@db/stp\n", "url").chmod(0o600)

    found = settings('[database]\nurl_file = "url"')

    assert found.database.url is not None
    assert found.database.url.reveal() == "postgresql://stp:hunter22@db/stp"
    assert found.shown()["database.url"].value == f"postgresql://stp:{MASK}@db/stp"


def test_what_is_probably_not_meant_is_a_warning():
    found = settings(FEED + "own_orgs = ['other']\nsecret = 'unused'")

    assert found.warnings == (
        "feeds.main.own_orgs: does not hold pfOrg, the organisation that the feed logs in to",
        "feeds.main.secret: is not used while auth is token",
    )


def test_waits_that_are_too_short_for_a_real_vendor_are_a_warning():
    found = settings(FEED + "ghost_s = 5\neligible_after_s = 0")

    assert found.warnings == (
        "feeds.main.ghost_s: 5 is less than read_timeout_s = 30: a request that the vendor executes late may swallow "
        "what it hands out again; see A22",
        "feeds.main.eligible_after_s: 0 holds only where the vendor queues resent trades at once; see A12",
    )
    assert settings(FEED + "ghost_s = 30").warnings == ()


def test_the_hash_tells_settings_apart_but_not_their_secrets():
    one = settings().settings_hash()

    assert settings(FEED.replace("correct horse", "battery staple")).settings_hash() == one
    assert settings(STP_ETL__FEEDS__MAIN__PASSWORD="x").settings_hash() == one
    assert settings(FEED + "poll_interval_s = 5.0").settings_hash() == one
    assert settings(FEED + "poll_interval_s = 6").settings_hash() != one


def test_the_hash_counts_whom_alerts_are_sent_to_and_where_their_secret_comes_from():
    for name in ("one", "two"):
        a_file("the same secret", name).chmod(0o600)
    a_file("https://hooks.example/T0/other", "hook").chmod(0o600)

    def hashed(alerts: str = "") -> str:
        return settings(f"{FEED}[alerts]\n{alerts}").settings_hash()

    url = 'url = "https://hooks.example/T0/token"\n'
    different = [
        "", url, 'url = "https://hooks.other/T0/token"', 'url = "https://hooks.example:444/T0"', 'url_file = "hook"',
        url + 'secret = "battery staple"', url + 'secret_file = "one"', url + 'secret_file = "two"',
        url + "timeout_s = 11", url + 'muted = ["gap.escalated"]',
    ]  # fmt: skip
    assert len({hashed(each) for each in different}) == len(different)
    assert hashed('url = "https://hooks.example/T0/another-token"') == hashed(url)
    assert hashed(url + 'secret = "horse correct"') == hashed(url + 'secret = "battery staple"')
    assert hashed() == settings().settings_hash()


def test_settings_are_frozen():
    found = settings()

    with pytest.raises(Exception, match="frozen"):
        found.feed(None).page_size = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.feeds["x"] = found.feed(None)  # type: ignore[index]


def test_a_command_that_needs_a_feed_says_so():
    with pytest.raises(ConfigError, match="feeds: none is configured"):
        load(None, {}).feed(None)
    with pytest.raises(ConfigError, match="no such feed; did you mean main"):
        settings().feed("mian")
    with pytest.raises(ConfigError, match="feeds.nobody: no such feed; the settings know: main"):
        settings().feed("nobody")
    two = settings(FEED + FEED.replace("main", "other").replace("pfOrg", "other"))
    with pytest.raises(ConfigError, match=r"there are 2 feeds; name one: --feed main\|other"):
        two.feed(None)
    assert two.feed("other").org == "other"


def test_the_process_environment_is_not_looked_at(monkeypatch):
    monkeypatch.setitem(os.environ, "STP_ETL__OPS__SHUTDOWN_GRACE_S", "3")

    assert load(None, {}).ops.shutdown_grace_s == 25


@pytest.mark.parametrize(
    ("listen", "host", "port"), [("0.0.0.0:0", "0.0.0.0", 0), ("[::1]:8080", "::1", 8080), ("host:80", "host", 80)]
)
def test_the_address_to_listen_on_has_two_parts(listen, host, port):
    found = settings(STP_ETL__OPS__LISTEN=listen).ops

    assert (found.listen_host, found.listen_port) == (host, port)


@pytest.mark.parametrize("name", ["STP_ETL_FEEDS__MAIN__PASSWORD", "STPETL__OPS__LISTEN", "stp_etl__ops__listen"])
def test_a_misspelt_prefix_is_a_fault_and_not_left_aside(name):
    with pytest.raises(ConfigError) as found:
        settings(FEED, **{name: "x"})

    assert found.value.faults[0].startswith(f"{name}: ")
    assert "STP_ETL__SECTION__KEY" in found.value.faults[0]


def test_a_variable_of_another_program_is_left_alone():
    assert settings(FEED, STP_ETL_TEST_DATABASE_URL="x", STPX__A="y", MY_STP_ETL__B="z").feed(None)


def test_an_assumption_that_does_not_exist_cannot_be_confirmed():
    assert faults(FEED + "confirmed_assumptions = ['A24', 'A25']") == (
        'feeds.main.confirmed_assumptions[1] = "A25": must be A1 to A24, as the README numbers the assumptions',
    )
