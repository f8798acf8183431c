"""Lines that Loki will never take, as JSON lines on disk; capped, durable before the position passes them.

Who writes to the file, or puts another in its place, holds a lock on it meanwhile (`held`).
"""

from __future__ import annotations

import fcntl
import os
import pathlib

import orjson

from shipper.keeping.own_files import open_own


class DeadLetters:
    """Appends to one file.

    `write` returns False when the cap or the disk does not allow it: then nothing is settled.
    """

    def __init__(self, path: pathlib.Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.problem = ""
        """Why the last write failed; empty when it did not."""

    def write(self, records: list[dict[str, object]]) -> bool:
        """Append the records, durably; all or, as far as the file system keeps its word, none."""
        data = b"".join(orjson.dumps(record) + b"\n" for record in records)
        try:
            fd = held(self.path)
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror}"
            return False
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                # A write was torn by a crash: its piece stands alone, and spoils no other record.
                data = b"\n" + data
            if size + len(data) > self.limit_bytes:
                self.problem = f"{self.path} is full ({size} of {self.limit_bytes} bytes)"
                return False
            written = os.write(fd, data)
            if written < len(data):
                os.ftruncate(fd, size)
                self.problem = f"{self.path}: the disk is full"
                return False
            os.fsync(fd)
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror}"
            return False
        finally:
            os.close(fd)
        self.problem = ""
        return True

    @property
    def size_bytes(self) -> int:
        """How large the file is."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


def held(path: pathlib.Path) -> int:
    """Return a descriptor of the file at `path`, locked until it is closed; raises `OSError`.

    Another file may have come to the path while the lock was waited for: then that one is taken.
    """
    while True:
        fd = open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            here, there = os.fstat(fd), os.lstat(path)
        except FileNotFoundError:
            os.close(fd)
            continue
        except BaseException:
            os.close(fd)
            raise
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            return fd
        os.close(fd)
