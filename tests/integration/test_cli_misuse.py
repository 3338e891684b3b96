"""What every command refuses alike: days in the wrong order, feeds that nobody knows."""

from typing import Any

import pytest
import typer.main

from etl.cli.main import app
from tests.builders import a_raw_message

WHY = ("--reason", "a test")
NEEDED = {
    "resend": WHY,
    "gaps open": WHY,
    "trades show": ("T1",),
    "balances show": ("USD",),
    "balances adjust": ("--asset", "USD", "--amount", "1", *WHY),
    "certify": ("--trade-date", "2024-03-13"),
    **{
        f"export {kind}": ("--trade-date", "2024-03-13", "--to", "/tmp/not-written.csv")
        for kind in ("trades", "legs", "positions", "breaks")
    },
}
"""What a command cannot be called without, by command."""
BY_SETTINGS = ("poll", "resend", "gaps open", "reconcile", "balances adjust", "certify")
"""Commands that act on a feed: the settings must know it."""


def commands_with(*options: str) -> list[str]:
    """Return the words of every command that has all of these options."""
    found = []

    def look(command: Any, words: tuple[str, ...]) -> None:
        given = {each for param in command.params for each in param.opts}
        if {*options} <= given:
            found.append(" ".join(words))
        for name, below in getattr(command, "commands", {}).items():
            look(below, (*words, name))

    look(typer.main.get_command(app), ())
    return found


DAYS = ("--from", "2024-03-12", "--to", "2024-03-13")


def called(stp_etl, command, *more):
    return stp_etl(*command.split(), *NEEDED.get(command, ()), *more)


@pytest.fixture
def booked(desk):
    desk.land(a_raw_message(tradeId="T1"))


def test_days_in_the_wrong_order_are_refused_by_every_command(stp_etl, booked):
    commands = commands_with("--from", "--to")

    ended = {each: called(stp_etl, each, "--from", "2024-03-13", "--to", "2024-03-12") for each in commands}

    assert {*commands} >= {"verify", "trades list", "messages rebook", "resend", "gaps open"}
    assert {each.code for each in ended.values()} == {2}
    assert [name for name, each in ended.items() if "--to 2024-03-12 is before --from 2024-03-13" not in each.err] == []


def test_a_feed_that_nobody_knows_is_refused_by_every_command(stp_etl, booked):
    commands, ranged = commands_with("--feed"), ("resend", "gaps open", "messages rebook")

    ended = {each: called(stp_etl, each, *(DAYS if each in ranged else ()), "--feed", "nope") for each in commands}

    told = {name: each.err.strip() for name, each in ended.items() if name not in BY_SETTINGS}
    assert {*told.values()} == {"stp-etl: the database knows no feed nope; it knows: main"}, told
    refused = {name: ended[name].err.strip() for name in BY_SETTINGS}
    assert [name for name, said in refused.items() if "feeds.nope: no such feed" not in said] == []
    assert {name: each.code for name, each in ended.items()} == {
        name: 2 if name in BY_SETTINGS else 1 for name in commands
    }
