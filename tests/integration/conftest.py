"""Fixtures for tests that land, book and look, without a vendor."""

from pathlib import Path

import pytest

from etl.store.database import Database
from etl.store.unit_of_work import OpenWork
from tests.clocks import FakeClock
from tests.commands import CommandLine
from tests.desk import Desk


@pytest.fixture
def desk(database: Database, open_work: OpenWork, clock: FakeClock) -> Desk:
    """A feed whose messages are landed and booked by hand."""
    return Desk(database, open_work, clock)


@pytest.fixture
def stp_etl(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> CommandLine:
    """The command line on the test's database."""
    return CommandLine(database_url, tmp_path, monkeypatch, capfd)
