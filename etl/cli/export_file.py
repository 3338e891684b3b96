"""Files that are there as a whole or not at all, each with a side file of control totals."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from etl.cli.output import csv_cell, json_text, plain
from etl.errors import EtlError

CONTROL = ".control.json"


class RowWriter(Protocol):
    """Writes rows into a file in one format."""

    def write(self, rows: Iterable[Sequence[Any]], file: IO[bytes]) -> None:
        """Write all rows; the file is complete afterwards."""
        ...


class CsvWriter:
    """RFC 4180 with a header; nothing is an empty cell, lists and objects are JSON, numbers have all their digits."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def write(self, rows: Iterable[Sequence[Any]], file: IO[bytes]) -> None:
        """Write header and rows."""
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", errors="backslashreplace", write_through=True)
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(self._columns)
        for row in rows:
            writer.writerow([csv_cell(value) for value in row])
        text.detach()


class JsonLinesWriter:
    """One object a line; exact numbers are texts, because readers of JSON make binary floats of numbers."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def write(self, rows: Iterable[Sequence[Any]], file: IO[bytes]) -> None:
        """Write a line a row."""
        for row in rows:
            line = json_text(dict(zip(self._columns, map(plain, row), strict=True)))
            file.write(line.encode() + b"\n")


def check_place(path: Path, *, overwrite: bool) -> None:
    """Raise EtlError where the file cannot or must not be written, before anything is asked of the database."""
    if path.is_dir():
        raise EtlError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise EtlError(f"{path.parent} is no folder; make it first")
    there = [each for each in (path, control_of(path)) if each.exists()]
    if there and not overwrite:
        raise EtlError(f"{there[0]} exists; name another file, or say --overwrite")


def control_of(path: Path) -> Path:
    """Return where the control totals of a file stand."""
    return path.with_name(path.name + CONTROL)


def write_whole(path: Path, write: Callable[[IO[bytes]], Mapping[str, Any]], *, overwrite: bool) -> Mapping[str, Any]:
    """Write the file and its control totals; return those. Both are there as a whole, the totals last, or neither.

    `write` writes the content and returns what it knows of it; the file's name, size and SHA-256 are added. Raises
    EtlError where the disk or another process is in the way.
    """
    try:
        with temporary(path) as content, temporary(control_of(path)) as control:
            known = dict(write(content))
            content.flush()
            totals = {"file": path.name, **known, "bytes": content.tell(), "sha256": sha256_of(Path(content.name))}
            control.write(json.dumps(totals, indent=2, ensure_ascii=False).encode() + b"\n")
            for each in (content, control):
                each.flush()
                os.fsync(each.fileno())
            if overwrite:
                control_of(path).unlink(missing_ok=True)  # never old totals beside a new file
            publish(Path(content.name), path, overwrite=overwrite)
            try:
                publish(Path(control.name), control_of(path), overwrite=overwrite)
            except OSError:
                path.unlink()
                raise
            sync_folder(path.parent)
            return totals
    except OSError as error:
        where = error.filename or path
        raise EtlError(f"{where}: {error.strerror or error}; no file was written") from error


@contextmanager
def temporary(path: Path) -> Iterator[IO[bytes]]:
    """Lend a file beside the path, gone afterwards; one writer at a time, what a killed one left is written over."""
    place = path.with_name(f".{path.name}.part")
    with place.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EtlError(f"another export is writing {path}; no file was written by this one") from None
        try:
            file.truncate(0)
            yield file
        finally:
            with suppress(FileNotFoundError):
                place.unlink()


def publish(written: Path, path: Path, *, overwrite: bool) -> None:
    """Give the file its name; in place of another one only where that is wanted."""
    if overwrite:
        written.rename(path)
    else:
        os.link(written, path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Let the names of the folder outlive a power failure."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
