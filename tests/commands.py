"""The command line on a database: in this process, or as a process of its own."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl.cli.main import run

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = """
[feeds.main]
base_url = "https://vendor.test"
org = "pfOrg"
user = "mainUser"
password = "correct-horse"
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    """Runs `stp-etl` with the settings of one feed, on the database at `url`."""

    def __init__(
        self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self._file, self._capfd = folder / "stp-etl.toml", capfd
        self.configure()
        self.environ = {"STP_ETL_CONFIG": str(self._file), "STP_ETL__DATABASE__URL": url, "SUDO_USER": "olga"}
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)

    def configure(self, more: str = "") -> None:
        """Write the settings, with more about the feed."""
        self._file.write_text(SETTINGS + more)

    def __call__(self, *words: str) -> Ended:
        """Run a command in this process."""
        self._capfd.readouterr()
        code = run(words)
        said = self._capfd.readouterr()
        return Ended(code, said.out, said.err)

    def on_terminal(self, *words: str) -> str:
        """Run a command as a process whose stdout is a terminal; return what that would show, a few KiB at most."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "etl.cli.main", *words]
        given = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "TERM": "xterm", **self.environ}
        subprocess.run(command, env=given, cwd=self._file.parent, stdout=theirs, timeout=120, check=True)
        os.close(theirs)
        shown = os.read(ours, 4096)
        os.close(ours)
        return shown.decode()

    def process(self, *words: str, stdin: str = "", **environ: str) -> Ended:
        """Run a command as a process."""
        command = [sys.executable, "-m", "etl.cli.main", *words]
        given = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **self.environ, **environ}
        done = subprocess.run(
            command,
            env=given,
            cwd=self._file.parent,
            input=stdin.encode(),
            capture_output=True,
            timeout=120,
            check=False,
        )
        out, err = (said.decode("utf-8", "surrogateescape") for said in (done.stdout, done.stderr))
        return Ended(done.returncode, out, err)
