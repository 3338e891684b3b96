"""Every command, those to come too, has a help text and an example; and how a call of the command line ends."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from etl.cli.main import NOUNS, app, run
from etl.errors import ConfigError, VendorAwayError


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command under `command` with the words that call it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


ALL = list(commands(typer.main.get_command(app)))
NAMES = [" ".join(("stp-etl", *path)) for path, _ in ALL]


def test_the_whole_tree_is_looked_at():
    assert {path[0] for path, _ in ALL if path} == set(NOUNS)
    assert ("config", "show") in [path for path, _ in ALL]


@pytest.mark.parametrize(("path", "command"), ALL, ids=NAMES)
def test_every_command_has_a_help_text(path, command):
    assert command.help
    assert command.help.strip().endswith((".", "?", "!"))


@pytest.mark.parametrize(("path", "command"), ALL, ids=NAMES)
def test_every_command_has_an_example_that_calls_it(path, command):
    if path and getattr(command, "commands", None):
        return  # a noun without a verb does nothing

    assert (command.epilog or "").startswith("Example: stp-etl ")
    words = iter(command.epilog.split())
    assert all(word in words for word in path)


@pytest.mark.parametrize(("path", "command"), ALL, ids=NAMES)
def test_every_option_has_a_help_text(path, command):
    assert [each.name for each in command.params if not getattr(each, "help", None) and not each.hidden] == []


@pytest.mark.parametrize(("path", "command"), ALL, ids=NAMES)
def test_help_works(path, command):
    result = CliRunner().invoke(app, [*path, "--help"])

    assert result.exit_code == 0
    assert " ".join(("stp-etl", *path)) in result.output
    assert command.help.split()[0] in result.output


def test_a_wrong_noun_is_a_wrong_usage_with_a_suggestion(capsys):
    assert run(["confg"]) == 2
    assert "No such command 'confg'. Did you mean 'config'?" in capsys.readouterr().err


def test_the_version_is_told_without_reading_settings(capsys):
    assert run(["--config", "nowhere.toml", "--version"]) == 0
    assert capsys.readouterr().out.startswith("stp-etl ")


def ending_in(error: BaseException) -> typer.Typer:
    commands = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

    @commands.command()
    def fail() -> None:
        raise error

    return commands


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError(["a.b: is missing"]), 2, "stp-etl: a.b: is missing\n"),
        (ConfigError(["a: x", "b: y"]), 2, "stp-etl: 2 faults in the settings:\n  a: x\n  b: y\n"),
        (VendorAwayError("no answer"), 1, "stp-etl: no answer\n"),
        (typer.Exit(3), 3, ""),
        (typer.Exit(), 0, ""),
        (SystemExit(4), 4, ""),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "broken pipe"), 1, ""),
    ],
)
def test_how_a_command_ends_is_its_exit_code(capsys, error, code, said):
    streams = sys.stdout, sys.stderr

    assert run([], ending_in(error)) == code

    sys.stdout, sys.stderr = streams
    assert capsys.readouterr().err == said


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run([], ending_in(ZeroDivisionError()))


def test_a_reader_that_goes_away_is_no_error_message():
    shown = subprocess.Popen(
        [sys.executable, "-m", "etl.cli.main", "config", "show", "--format", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"STP_ETL_CONFIG": "/dev/null"},
    )  # fmt: skip
    assert shown.stdout is not None
    shown.stdout.close()
    assert shown.stderr is not None

    with shown, shown.stderr as complaints:
        assert complaints.read() == b""
    assert shown.returncode == 0


WRITES_AFTER_ITS_READER_LEFT = """
import sys
from etl.cli import main

def run(_):
    sys.stdin.read()
    sys.{stream}.write("x" * 3_000_000)
    return {code}

main.run = run
main.main()
"""


@pytest.mark.parametrize(("stream", "code"), [("stdout", 0), ("stdout", 3), ("stderr", 3)])
def test_a_command_that_nobody_reads_any_more_ends_with_its_own_code(stream, code):
    program, pipe = WRITES_AFTER_ITS_READER_LEFT.format(stream=stream, code=code), subprocess.PIPE
    shown = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert shown.stdin is not None
    assert shown.stdout is not None
    assert shown.stderr is not None
    left, read = (shown.stdout, shown.stderr) if stream == "stdout" else (shown.stderr, shown.stdout)

    left.close()
    shown.stdin.close()

    with shown, read as complaints:
        assert complaints.read() == ""
    assert shown.returncode == code


def test_output_that_cannot_be_written_whole_is_a_failure():
    shown = subprocess.run(
        f"{sys.executable} -m etl.cli.main config show > /dev/full",
        shell=True, env={"STP_ETL_CONFIG": "/dev/null"}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    said = "stp-etl: the output could not be written whole: no space left on device\n"
    assert (shown.returncode, shown.stderr) == (1, said)
