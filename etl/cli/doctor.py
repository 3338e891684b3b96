"""`stp-etl doctor`: is everything right for polling? Asks everything but the queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import typer

from etl.app import App
from etl.chance import new_id
from etl.cli.checks import Check, CheckState, fail, of_settings, ok, room, warn, worst
from etl.cli.context import Invocation, invocation
from etl.cli.database_checks import of_database
from etl.cli.options import FOUND_SOMETHING
from etl.cli.output import Format, FormatOption, remark, show
from etl.clock import SystemClock, disagreement
from etl.config import FeedSettings, Settings
from etl.domain.words import counted
from etl.errors import ConfigError, EtlError, TransientError, VendorUnreachableError
from etl.store.embedded import folder_for, is_made, not_made
from etl.vendor.client import VendorClient
from etl.wiring import endpoint_of

cli = typer.Typer(add_completion=False)
COLUMNS = ("check", "feed", "state", "seen", "do")
NO_TRADE = "stp-etl-doctor"  # asked for by id: signed and authorised like any question, and no trade of anybody
SECONDS_APART = 5.0


@cli.command("doctor", epilog="Example: stp-etl doctor --format json")
def doctor(context: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """Check settings, secrets, database, rights, disk, leadership, and the login at the vendor; exit 3 when one fails.

    It logs in as the download user and never touches the queue, so it may run at any time, beside the daemon too.
    """
    checks = list(checks_of(invocation(context)))
    show([msgspec.structs.asdict(each) for each in checks], COLUMNS, fmt)
    bad = [each for each in checks if each.state is not CheckState.OK]
    failed, look = sum(each.state is CheckState.FAIL for each in bad), counted(len(bad), "needs a look", "need a look")
    remark(f"{counted(len(checks), 'check')}, {failed} failed, {look}")
    if worst(checks) is CheckState.FAIL:
        raise typer.Exit(FOUND_SOMETHING)


def checks_of(given: Invocation) -> Iterator[Check]:
    """Yield every check; without sound settings there is nothing else to look at."""
    try:
        settings = given.settings
    except ConfigError as error:
        for fault in error.faults:
            yield fail("settings", fault, "correct it; every key is explained in config/stp-etl.toml")
        return
    yield from of_settings(settings)
    yield from _database(settings)
    for name, feed in settings.feeds.items():
        yield from _vendor(name, feed)


def _database(settings: Settings) -> Iterator[Check]:
    folder = folder_for(Path(settings.database.data_dir))
    if settings.database.url is None and not is_made(folder):
        yield fail("database", not_made(Path(settings.database.data_dir)), "stp-etl db upgrade")
        yield room(folder, "data_dir")
        return
    with App(settings) as app:
        try:
            yield from of_database(app)
        except EtlError as error:
            yield fail("database", str(error), f"check {app.database_named} and that it runs")


def _vendor(name: str, feed: FeedSettings) -> Iterator[Check]:
    try:
        client = VendorClient(endpoint_of(feed), SystemClock(), new_id)
    except ConfigError as error:
        yield fail("login", str(error), "name a file of certificates, as PEM; nothing was asked", name)
        return
    with closing(client) as vendor:
        try:
            vendor.ensure_session()
            vendor.trade(NO_TRADE)
        except EtlError as error:
            yield fail("login", str(error), f"{_in_question(error)}; nothing was asked of the queue", name)
            return
        how = "plain http" if feed.base_url.startswith("http:") else "TLS"
        yield ok("login", f"user {feed.user} of {feed.org} at {feed.base_url}, {how}", name)
        yield _clock(vendor, name)


def _in_question(error: EtlError) -> str:
    """Return what to look at: credentials only where the vendor has judged them."""
    match error:
        case VendorUnreachableError():
            return "check base_url, the proxy and the network; org, user and secret were not judged"
        case TransientError():
            return "the vendor answers and cannot serve now: try again, or ask its support"
        case _:
            return "check base_url, org, user and the secret"


def _clock(vendor: VendorClient, name: str) -> Check:
    skew = vendor.clock_skew_s()
    if (fault := disagreement(skew)) is not None:
        return fail("clock", fault, "synchronise this machine's clock (NTP)", name)
    if skew is None:
        return warn("clock", "the vendor's answers carry no Date", "watch this machine's clock by other means", name)
    if abs(skew) > SECONDS_APART:
        return warn(
            "clock", f"{abs(skew):.0f} s apart from the vendor's Date", "synchronise this machine's clock", name
        )
    return ok("clock", "agrees with the vendor's Date", name)
