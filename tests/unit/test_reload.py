"""SIGHUP: of every key it is said whether a running daemon takes it, and what it takes is what was read."""

import pytest

from etl.config import load
from etl.daemon.reload import merged

FEED = '[feeds.main]\nbase_url = "https://fxi.example"\norg = "o"\nuser = "u"\npassword = "long enough"\n'


@pytest.fixture
def read(tmp_path):
    def settings(text):
        file = tmp_path / "stp-etl.toml"
        file.write_text(text)
        return load(file, {})

    return settings


@pytest.mark.parametrize(
    "text",
    [
        '[alerts]\nurl = "https://hooks.example/x"\nsecret = "a-shared-secret"\nmuted = ["drift.new_field"]\n'
        "timeout_s = 3\ngive_up_after_s = 90\nbreak_age_days = 4\nretention_days = 5\n",
        '[reconciliation]\npositions_every_s = 60\nsweep = "off"\ntimezone = "Europe/Zurich"\nlevel = "LE"\n'
        "tolerance_units = {JPY = 1}\nminor_unit_digits = {BTC = 8}\n",
        '[trading]\nweekend = "open"\n[booking]\nbatch_kib = 10\n[ops]\nlog_level = "debug"\n'
        "[publish]\ninterval_s = 9\n[retention]\nanswers_months = 84\n",
    ],
    ids=["alerts", "reconciliation", "others"],
)
def test_what_a_running_daemon_can_take_is_taken(read, text):
    held, new = read(FEED), read(FEED + text)

    found = merged(held, new)

    assert found.left == ()
    assert len(found.taken) == text.count(" = ") - text.count("{")
    for path in found.taken:
        section, key = path.split(".")
        assert getattr(getattr(found.settings, section), key) == getattr(getattr(new, section), key)


def test_what_stands_in_connections_is_left_and_named(read):
    held = read(FEED)
    new = read(
        FEED.replace("fxi.example", "fxi2.example") + '[database]\nurl = "postgresql://a.example/b"\n'
        '[ops]\nlisten = "127.0.0.1:1"\n'
    )

    found = merged(held, new)

    assert found.taken == ()
    assert found.left == (
        "database.url", "feeds.main.base_url", "ops.listen",
    )  # fmt: skip
    assert found.settings.feeds["main"].base_url == held.feeds["main"].base_url
