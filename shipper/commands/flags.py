"""The flags that commands share, and the configuration they make; what is wrong ends the process."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from shared.models import machine_name
from shipper.configuration import config as configuration
from shipper.configuration.config import Config, ConfigError
from shipper.units import parse_duration_s

EXIT_CONFIG = 2

F = TypeVar("F", bound=Callable[..., Any])

_FLAGS: tuple[tuple[str, str], ...] = (
    ("loki_url", "Loki's address, with or without the push path."),
    ("state_dir", "Where positions and dead letters are kept.  [default: $STATE_DIRECTORY, else XDG state]"),
    ("batch_size", "Lines in a push at most.  [default: 1000]"),
    ("batch_bytes", "Bytes of a push before compression at most.  [default: 256KiB]"),
    ("batch_wait", "A line waits so long for others.  [default: 5s]"),
    ("retry_max", "Retries in a round; a failed round never ends the data.  [default: 5]"),
    ("max_stream_rate", "Bytes a second into one stream, 0 for no limit.  [default: 1.2MB]"),
    ("environment", "The label of that name.  [default: development]"),
    ("machine", "The label of that name.  [default: user@host]"),
    ("listen_address", "HOST:PORT of the own HTTP, '' for none.  [default: 127.0.0.1:57375]"),
    ("shutdown_timeout", "After SIGTERM lines are flushed for so long.  [default: 30s]"),
    ("request_timeout", "A push may take so long.  [default: 30s]"),
    ("tenant", "X-Scope-OrgID."),
    ("basic_user", "User for basic authentication."),
    ("basic_password_file", "File with the password."),
    ("bearer_token_file", "File with a bearer token."),
    ("use_gzip", "Compress pushes.  [default: true]"),
    ("ca_file", "Authorities to trust in place of the system's, PEM."),
    ("client_cert_file", "Our certificate for a Loki that wants one, PEM."),
    ("client_key_file", "Its key, unencrypted.  [default: in the certificate's file]"),
    ("max_entry_bytes", "A longer line is split into numbered parts.  [default: 256KiB]"),
    ("structured_metadata", "Send ids as structured metadata; false for a Loki without it.  [default: true]"),
    ("reject_old_samples_max_age", "Older lines get the time of reading.  [default: 7d]"),
    ("old_lines", "restamp or dead-letter.  [default: restamp]"),
    ("dead_letter_max_bytes", "Cap of the dead-letter file.  [default: 256MiB]"),
    ("max_open_files", "Descriptors for followed files.  [default: 512]"),
    ("log_format", "text or json.  [default: text]"),
    ("log_level", "debug, info, warning or error.  [default: info]"),
)


def options(function: F) -> F:
    """Add the flags of the configuration, which `load` reads."""
    for name, text in reversed(_FLAGS):
        function = click.option(f"--{name.replace('_', '-')}", name, default=None, help=text)(function)
    function = click.option(
        "--redact/--no-redact", default=None, help="Mask secrets before a line leaves.  [default: redact]"
    )(function)
    function = click.option("--config", "config_file", default=None, help="A TOML file.")(function)
    return click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="KIND=PATH",
        help="loki-mode=DIR|GLOB, llm-proxy=ROOT, coo-llm=FILE or jsonl=GLOB; repeatable.  "
        "[default: what is found]",
    )(function)


def loader(
    flags: dict[str, Any], *, need_loki: bool = True, need_sources: bool = True
) -> Callable[[], Config]:
    """Return what loads the configuration, as often as it is called; that raises `ConfigError`."""
    texts = dict(flags)
    sources = texts.pop("sources")
    config_file = texts.pop("config_file")
    if texts["redact"] is not None:
        texts["redact"] = str(texts["redact"]).lower()
    machine = _machine()
    return lambda: configuration.load(
        texts,
        sources,
        config_file,
        os.environ,
        machine,
        need_loki=need_loki,
        need_sources=need_sources,
    )


def load(flags: dict[str, Any], *, need_loki: bool = True, need_sources: bool = True) -> Config:
    """Return the configuration; ends the process with every problem it has."""
    try:
        return loader(flags, need_loki=need_loki, need_sources=need_sources)()
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"configuration: {problem}", err=True)
        sys.exit(EXIT_CONFIG)


def duration(flag: str, text: str) -> float:
    """Return the seconds that a flag's text means; ends the process where it means none."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        click.echo(f"configuration: {flag}: {error}", err=True)
        sys.exit(EXIT_CONFIG)


def _machine() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return machine_name(user, socket.gethostname())
