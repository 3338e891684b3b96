"""Fixtures of the acceptance tests: a sandbox as a process, and the program set up for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from tests.acceptance.program import Program, feed_text, settings_text

Play = Callable[..., SandboxProcess]


@pytest.fixture
def play() -> Iterator[Play]:
    """Start sandboxes; they end with the test."""
    with ExitStack() as running:

        def start(**options: object) -> SandboxProcess:
            return running.enter_context(SandboxProcess(Options(**options)))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def program_for(tmp_path, database_url) -> Callable[..., Program]:
    """Set the program up for one sandbox and the database of this test."""

    def made(sandbox: SandboxProcess, **keys: object) -> Program:
        return Program(tmp_path, settings_text(database_url, feed_text(sandbox.url, sandbox.user, **keys)))

    return made
