"""README.md says what is true: its commands run or parse, its files exist, its queries answer."""

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from etl.cli.main import app
from etl.config import load
from etl.config.values import ASSUMPTIONS
from etl.domain.fields import CANONICAL_NAMES
from tests.acceptance.program import ROOT, Program, until
from tests.databases import folder

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"(?:<!-- runs: (.+?) -->\n)?```(\w+)\n(.*?)```", README, re.DOTALL)
SHELL = [text for _, language, text in BLOCKS if language == "sh"]
MARKED = {mark: text for mark, _, text in BLOCKS if mark}
QUERIES = [each.strip() for _, kind, text in BLOCKS if kind == "sql" for each in text.split(";\n") if each.strip()]


def commands() -> Iterator[list[str]]:
    """Yield the words of every call of stp-etl, in blocks and in running text."""
    in_text = re.findall(r"`(stp-etl [^`]+)`", README)
    without_files = [re.sub(r"<<'END'.*?\nEND\n", "\n", block, flags=re.DOTALL) for block in SHELL]
    for line in [*in_text, *(line for block in without_files for line in block.splitlines())]:
        words = shlex.split(line, comments=True)
        if words[:1] == ["stp-etl"]:
            yield words[1:]


def parse(words: list[str]) -> None:
    """Let every command on the way parse its options and arguments, without running anything."""
    command = typer.main.get_command(app)
    context = None
    while True:
        context = command.make_context(command.name or "stp-etl", list(words), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        _, command, words = command.resolve_command(context, rest)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_exists_with_its_options(words):
    parse(words)


@pytest.mark.parametrize("words", [["sttus"], ["status", "--nothing"], ["trades", "lst"], ["trades", "show"]])
def test_a_command_that_does_not_exist_would_be_noticed(words):
    with pytest.raises(Exception, match="No such|[Mm]issing"):
        parse(words)


def test_there_are_commands_to_look_at():
    assert len(list(commands())) > 25


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", "\n".join(SHELL), re.MULTILINE))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"`((?:etl|tests|migrations|config|\.ci)/[\w./-]*)`", README))
    named |= set(re.findall(r"\]\((?!#)([^)]+)\)", README))

    assert len(named) > 30
    assert [each for each in sorted(named) if not (ROOT / each).exists()] == []


def test_every_heading_that_is_linked_exists():
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors


def test_each_law_is_tested_where_it_says():
    for law, files in re.findall(r"^\| (\d+) .*? \| (.+) \|$", README, re.MULTILINE):
        for file in re.findall(r"`(tests/[^`]+)`", files):
            assert f"def test_law_{law}_" in (ROOT / file).read_text(), f"law {law} is not in {file}"


def test_every_assumption_is_a_question_with_a_setting_or_a_file_that_exists():
    rows = re.findall(r"^\| (A\d+) \| (.+?\?) \| (.+?) \| (.+?) \|$", README, re.MULTILINE)
    assert [number for number, *_ in rows] == list(ASSUMPTIONS)

    example = (ROOT / "config" / "stp-etl.toml").read_text()
    for _, _, _, change in rows:
        for name in re.findall(r"`(\w+)`", change):
            assert name in CANONICAL_NAMES or re.search(rf"^#? ?{name} =|\.{name}\]", example, re.MULTILINE), name


def test_every_view_that_is_named_exists(connection):
    found = {
        name for (name,) in connection.exec_driver_sql("SELECT viewname FROM pg_views WHERE schemaname = 'reporting'")
    }

    assert set(re.findall(r"reporting\.(\w+)", README)) <= found


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.splitlines()[0].strip("- "))
def test_every_query_answers(connection, query):
    connection.exec_driver_sql(query.rstrip(";"))


def test_every_state_and_event_is_explained(connection):
    view = connection.exec_driver_sql("SELECT pg_get_viewdef('reporting.feed_status'::regclass)").scalar_one()
    states = set(re.findall(r"(?:THEN|ELSE) '(\w+)'", view))
    source = "\n".join(path.read_text() for path in (ROOT / "etl").rglob("*.py"))
    events = set(re.findall(r"log\.\w+\(\s*\"(\w+\.\w+)\"", source)) | set(
        re.findall(r"\"(poll\.(?:rests|goes_on))\"", source)
    )

    assert states
    assert {each for each in states | events if f"`{each}`" not in README} == set()


class Terminal:
    """A shell in the folder of the tutorial, where the program is called by its name."""

    def __init__(self, place: Path, port: int) -> None:
        self.place, self.port = place, port
        binaries = place / ".venv" / "bin"
        binaries.mkdir(parents=True)
        (binaries / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
        (binaries / "stp-etl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m etl.cli.main "$@"\n')
        (binaries / "stp-etl").chmod(0o755)
        self.environment = Program(place).environment
        del self.environment["STP_ETL_CONFIG"]
        self.environment["STP_ETL__OPS__LISTEN"] = "127.0.0.1:0"  # the usual port may be taken on this machine

    def start(self, mark: str) -> subprocess.Popen[bytes]:
        """Run a block of the page, its last command in place of the shell."""
        *before, last = MARKED[mark].replace("8081", str(self.port)).strip().splitlines()
        script = "\n".join(["set -e", *before, f"exec {last}"])
        with (self.place / f"{mark}.log").open("wb") as log:
            return subprocess.Popen(
                ["bash", "-c", script], cwd=self.place, env=self.environment, stdout=log, stderr=log
            )

    def run(self, mark: str) -> str:
        """Run a block to its end and return what it wrote."""
        done = subprocess.run(
            ["bash", "-ec", MARKED[mark]], cwd=self.place, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with folder() as place, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.close()
        yield Terminal(place, port)


def test_the_tutorial_works_as_written(terminal):
    vendor = terminal.start("terminal 1")
    daemon = terminal.start("terminal 2")
    try:
        log = terminal.place / "terminal 2.log"
        until(lambda: '"booked"' in log.read_text() or daemon.poll() is not None, what="the first trades")
        assert daemon.poll() is None, log.read_text()

        said = terminal.run("terminal 3")

        daemon.terminate()
        assert daemon.wait(120) == 0
    finally:
        for process in (daemon, vendor):
            if process.poll() is None:
                process.kill()
            process.wait()
    assert re.search(r"^main +polling", said, re.MULTILINE)
    assert len(re.findall(r"FXI\d+", said)) == 10
    assert "(10 rows)" in said


@pytest.mark.nightly
def test_the_commands_after_the_demo_work_as_written(terminal):
    assert Program(terminal.place).call("demo", "--trades", "100").returncode == 0

    said = terminal.run("after the demo")

    assert re.search(r"^kind +position$", said, re.MULTILINE)
    assert len(set(re.findall(r"FXI\d+", said))) == 5
    assert re.search(r"^ EUR +\| +-?[\d.]+$", said, re.MULTILINE)


def test_the_settings_of_the_tutorial_are_sound(tmp_path):
    text = re.search(r"<<'END'\n(.*?)END\n", MARKED["terminal 2"], re.DOTALL)
    assert text is not None
    file = tmp_path / "trial.toml"
    file.write_text(text[1])

    assert load(file, {}, field_names=CANONICAL_NAMES).feed("main").poll_interval_s == 1
