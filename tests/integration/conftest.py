"""Fixtures for tests that land, book and look, without a vendor; and worlds of a sandbox where a file has a `pool`."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from etl.sandbox.options import User
from etl.sandbox.process import SandboxProcess
from etl.sandbox.variants import Variants
from etl.store.database import Database
from etl.store.unit_of_work import OpenWork
from tests.clocks import FakeClock
from tests.commands import CommandLine
from tests.desk import Desk
from tests.reconciling import World


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


@pytest.fixture
def make_world(
    pool: tuple[SandboxProcess, Iterator[User]], database: Database, tmp_path: Path
) -> Iterator[Callable[..., World]]:
    """Make drained feeds, each of a user of its own; at the end what the sandbox was told to do wrong is forgotten."""
    sandbox, users = pool
    made = list[World]()

    def make(**settings: Any) -> World:
        made.append(World(sandbox, next(users), database, tmp_path, **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()
        world.control.post("balance-error", {"clear": True, "org": world.user.org})
    sandbox.control.clear_faults()
    sandbox.control.variant(**asdict(Variants()))
    sandbox.control.post("position-error", {"clear": True})
