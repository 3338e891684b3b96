"""What a test started ends with it, however the test ends, by SIGKILL too."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from pathlib import Path

PR_SET_PDEATHSIG = 1
SERVER = 'kill -QUIT "$(head -n 1 "$1/postmaster.pid")" 2>/dev/null; sleep 1; rm -rf "$1"'


@contextmanager
def ended_with_us(command: str, given: object) -> Iterator[None]:
    """Let a shell run the command with `$1` given, should this process end before the block does.

    The shell waits at the other end of a pipe from here, in a session of its own.
    """
    line = ["sh", "-c", f"cat > /dev/null; {command}", "sh", str(given)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as watching:
        try:
            yield
        finally:
            watching.kill()


@contextmanager
def server_ends_with_us(data_dir: Path) -> Iterator[None]:
    """End the Postgres server of this folder, and the folder, should this process end before the block does."""
    with ended_with_us(SERVER, data_dir):
        yield


@contextmanager
def process_ends_with_us(pid: int) -> Iterator[None]:
    """Kill a process, should this one end before the block does."""
    with ended_with_us('kill -9 "$1" 2>/dev/null', pid):
        yield


def end_with_our_parent() -> None:
    """Let the kernel end this process, which `multiprocessing` began, as soon as its parent is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = parent_process()
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)  # it is gone already
