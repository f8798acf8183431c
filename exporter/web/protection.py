"""Who may come in, and under which certificate: the web configuration file, reloaded as it changes.

Once a second all its files are read and compared with what was read before; that costs some ten microseconds,
needs no clock that agrees with the file system's, and sees a renewed symbolic link as well as a rewritten
file. Nothing of that runs on the event loop.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.logs import RepeatLimiter, log_event
from exporter.web.config_file import ClientAuth, Pem, Refused, TlsSettings, WebConfig, parse
from exporter.web.credentials import Credentials
from exporter.web.tls_context import Pems, Tls, make_tls

LOOK_EVERY_S = 1.0
LIMIT_BYTES = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Protection:
    """What one state of the files amounts to. `made_from`: what `tls` was made from, to see what is new."""

    tls: Tls | None = None
    made_from: tuple[TlsSettings, Pems] | None = field(default=None, repr=False)
    credentials: Credentials = field(default_factory=Credentials)
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def wants_certificate(self) -> bool:
        """Whether no client gets in without a certificate."""
        return self.made_from is not None and self.made_from[0].client_auth is ClientAuth.REQUIRED


@dataclass(frozen=True)
class _Content:
    """What a file holds, or why that cannot be known."""

    data: bytes = field(default=b"", repr=False)
    problem: str = ""


class WebConfigFile:
    """The file at `path`; `current` is what holds now, to be read from any thread."""

    def __init__(
        self,
        path: str,
        *,
        now_s: Callable[[], float] = time.time,
        repeats: RepeatLimiter | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.current = Protection()
        self.is_good = False
        self.loaded_s = 0.0
        self._now_s = now_s
        self._repeats = repeats or RepeatLimiter()
        self._parsed: tuple[_Content, WebConfig | Refused] | None = None
        self._seen: tuple[_Content, Mapping[Path, _Content]] | None = None
        self._renewed: list[Callable[[], None]] = []
        self._stop = threading.Event()

    def load(self) -> Refused | None:
        """Load for the first time; returns what is wrong, if something is."""
        found = self._find()
        if isinstance(found, Protection):
            self._take(found)
            return None
        return found

    def look(self) -> None:
        """Load again if something has changed; what is broken leaves everything as it was."""
        found = self._find()
        if isinstance(found, Protection):
            weaker = tuple(_needs_restart(self.current, found))
            found = _at(self.path, Refused(weaker)) if weaker else found
        if isinstance(found, Refused):
            self._keep(found)
        elif found is not None:
            is_renewed = found.made_from != self.current.made_from
            self._take(found)
            log_event(_log, logging.INFO, "web configuration reloaded", file=self.path, new_tls=is_renewed)
            for renewed in self._renewed if is_renewed else ():
                renewed()

    def tls(self) -> Tls:
        """Return what a new connection is made with; only for a configuration that has TLS."""
        if self.current.tls is None:
            raise ValueError("the web configuration has no tls_server_config")
        return self.current.tls

    def on_renewed_tls(self, renewed: Callable[[], None]) -> None:
        """Have a function called, in the thread that looks, whenever connections should be made anew."""
        self._renewed.append(renewed)

    def watch(self) -> None:
        """Look once a second, in a thread of its own, until `close`."""
        threading.Thread(target=self._look_on, name="web-config", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()

    def _look_on(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 (the boundary: the next look may find a better file)
                self._keep(_at(self.path, Refused((f"a bug of the exporter: {type(error).__name__}",))))

    def _find(self) -> Protection | Refused | None:
        """Read all files; None if they hold what they held the last time."""
        main = _read(self.path)
        if self._parsed is None or self._parsed[0] != main:
            self._parsed = (main, _parse(self.path, main))
        config = self._parsed[1]
        files = {} if isinstance(config, Refused) else {path: _read(path) for path in _paths(config.tls)}
        if self._seen == (main, files):
            return None
        self._seen = (main, files)
        return config if isinstance(config, Refused) else _build(self.path, config, files)

    def _take(self, protection: Protection) -> None:
        self.current = protection
        self.is_good = True
        self.loaded_s = self._now_s()

    def _keep(self, refused: Refused) -> None:
        self.is_good = False
        held_back = self._repeats.admit(refused.problems)
        if held_back is not None:
            log_event(
                _log,
                logging.WARNING,
                "web configuration not reloaded",
                problems="; ".join(refused.problems),
                repeats=held_back,
                consequence="the one loaded before stays in force",
            )


def _read(path: Path) -> _Content:
    """Return the file's bytes; never waits for a FIFO, and takes no more than `LIMIT_BYTES`."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return _Content(problem="is no regular file")
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        return _Content(problem=error.strerror or type(error).__name__)
    except ValueError:  # a NUL in the name
        return _Content(problem="is no file name")
    return _Content(data) if len(data) <= LIMIT_BYTES else _Content(problem=f"is above {LIMIT_BYTES} bytes")


def _parse(path: Path, main: _Content) -> WebConfig | Refused:
    if main.problem:
        return Refused((f"{path}: {main.problem}",))
    try:
        config = parse(main.data.decode(), path.parent)
    except UnicodeDecodeError:
        config = Refused(("is no UTF-8 text",))
    return _at(path, config) if isinstance(config, Refused) else config


def _paths(tls: TlsSettings | None) -> list[Path]:
    pems = () if tls is None else (tls.cert, tls.key, tls.client_ca)
    return [pem.path for pem in pems if pem is not None and pem.path is not None]


def _build(path: Path, config: WebConfig, files: Mapping[Path, _Content]) -> Protection | Refused:
    """Return what the contents amount to; no I/O."""
    credentials = Credentials(config.users, config.tokens)
    if config.tls is None:
        return Protection(credentials=credentials, headers=config.headers)
    unread = tuple(f"{file}: {content.problem}" for file, content in files.items() if content.problem)
    if unread:
        return _at(path, Refused(unread))

    def data(pem: Pem) -> bytes:
        return pem.text.encode() if pem.path is None else files[pem.path].data

    ca = config.tls.client_ca
    pems = Pems(data(config.tls.cert), data(config.tls.key), None if ca is None else data(ca))
    tls = make_tls(config.tls, pems)
    if isinstance(tls, Refused):
        return _at(path, tls)
    return Protection(tls, (config.tls, pems), credentials, config.headers)


def _at(path: Path, refused: Refused) -> Refused:
    return Refused(tuple(f"{path}: {problem}" for problem in refused.problems))


def _needs_restart(before: Protection, after: Protection) -> Iterator[str]:
    """Yield why a reload may not lead from one to the other: a file half written must not open the door."""
    if before.tls is None and after.tls is not None:
        yield "tls_server_config has been added, which takes a restart"
    if before.tls is not None and after.tls is None:
        yield "tls_server_config has gone, which takes a restart"
    if before.credentials.are_needed and not after.credentials.are_needed:
        yield "all users and tokens have gone, which takes a restart"
    if before.wants_certificate and after.tls is not None and not after.wants_certificate:
        yield "client_auth_type asks for no certificate any more, which takes a restart"
