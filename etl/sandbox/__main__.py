"""The sandbox from the command line: `python -m etl.sandbox --port 8081 --seed 1 --trades 2000`."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time

from etl.sandbox.options import USERS_VARIABLE, Options, User
from etl.sandbox.server import serve

PASSWORD = "STP_SANDBOX_PASSWORD"

TAKEN_OVER = (
    *("port", "seed", "trades", "days_back", "page_size_default", "rate", "today", "start_time"),
    *("token_life_s", "eligible_after_s", "second_consumer", "prerender", "fault_rate", "fault_seed"),
    "stop_on_eof",
)
"""Arguments that are options of the same name."""


def parser() -> argparse.ArgumentParser:
    """Return the arguments; their defaults are those of `Options`."""
    usual = Options()
    made = argparse.ArgumentParser(prog="python -m etl.sandbox", description=__doc__)
    made.add_argument("--port", type=int, default=usual.port, help="0 takes a free one")
    made.add_argument("--seed", type=int, default=usual.seed)
    made.add_argument("--trades", type=int, default=usual.trades, help="backlog of each organisation")
    made.add_argument("--days-back", type=int, default=usual.days_back, help="trade days it is spread over")
    made.add_argument("--page-size-default", type=int, default=usual.page_size_default)
    made.add_argument("--token-life-s", type=float, help="seconds; thousandths count")
    made.add_argument("--user", action="append", help="NAME, or NAME:PASSWORD[:ORG]; may be repeated")
    made.add_argument("--password", help=f"of users given without one; else ${PASSWORD}")
    made.add_argument("--org", default=User.org, help="of users given without one")
    made.add_argument("--hmac-user", default="")
    made.add_argument("--hmac-secret", default=User.hmac_secret)
    made.add_argument("--rate", type=float, default=usual.rate, help="trades a second, done while it runs")
    made.add_argument("--today", type=date.fromisoformat, help="the vendor's day, YYYY-MM-DD")
    made.add_argument("--start-time", type=_time, help="HH:MM[:SS] UTC, or a whole instant")
    made.add_argument("--eligible-after-s", type=float, help="seconds from a resend to its first trade")
    made.add_argument("--second-consumer", type=float, default=usual.second_consumer, help="probability a page")
    made.add_argument("--variant", action="append", default=[], metavar="NAME=VALUE")
    made.add_argument("--prerender", type=int, default=usual.prerender, metavar="PAGE", help="trades a page")
    made.add_argument("--fault-rate", type=float, default=usual.fault_rate, help="probability a request")
    made.add_argument("--fault-seed", type=int)
    made.add_argument("--fault-kinds", default="", help="names, separated by commas")
    made.add_argument("--stop-on-eof", action="store_true", help="end when standard input does")
    return made


def options_of(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Return the options; raises ValueError for a value that makes no sense."""
    given = parser().parse_args(arguments)
    settings = dict(each.split("=", 1) if "=" in each else (each, "true") for each in given.variant)
    options = Options(
        **{name: getattr(given, name) for name in TAKEN_OVER},
        users=_users(given, environment),
        fault_kinds=tuple(filter(None, given.fault_kinds.split(","))),
        settings=settings,
    )
    options.check()
    return options


def _users(given: argparse.Namespace, environment: Mapping[str, str]) -> tuple[User, ...]:
    if listed := environment.get(USERS_VARIABLE):
        return tuple(User(**each) for each in json.loads(listed))
    usual = given.password or environment.get(PASSWORD) or User().password
    users = []
    for text in given.user or [User.name]:
        name, password, org = [*text.split(":"), "", ""][:3]
        users.append(User(name, password or usual, org or given.org, given.hmac_user, given.hmac_secret))
    return tuple(users)


def _time(text: str) -> time | datetime:
    return datetime.fromisoformat(text) if "T" in text or " " in text else time.fromisoformat(text)


def main() -> int:
    """Play the vendor; returns 1 where the port is taken, 2 where the arguments make no sense."""
    try:
        options = options_of(sys.argv[1:], os.environ)
    except ValueError as error:
        sys.stderr.write(f"etl.sandbox: {error}\n")
        return 2
    try:
        serve(options)
    except OSError as error:
        sys.stderr.write(f"etl.sandbox: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
