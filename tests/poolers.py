"""A real pgbouncer in front of a database, where this machine has one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.acceptance.program import until


@contextmanager
def pgbouncer(url: str, folder: Path, **settings: object) -> Iterator[str]:
    """Lend the address of the database through a pgbouncer with these settings."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("this machine has no pgbouncer")
    behind = make_url(url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {"listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "any", "unix_socket_dir": "", **settings}
    host = behind.query.get("host") or behind.host
    file = folder / "pgbouncer.ini"
    lines = [f"{key} = {value}" for key, value in given.items()]
    file.write_text(
        f"[databases]\n{behind.database} = host={host} dbname={behind.database} user=postgres\n"
        "[pgbouncer]\n" + "\n".join(lines) + "\n"
    )
    account = "postgres" if os.geteuid() == 0 else None
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and len(each.parts) > 2:
            each.chmod(0o755)
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(file)], stdout=log, stderr=log, user=account, extra_groups=[] if account else None, cwd="/"
        )
        try:
            until(lambda: _listens(port) or process.poll() is not None, what="pgbouncer")
            assert process.poll() is None, (folder / "pgbouncer.log").read_text()
            yield f"postgresql://postgres@127.0.0.1:{port}/{behind.database}"
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
