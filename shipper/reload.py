"""The configuration anew while the process runs: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shipper.configuration.config import Config, ConfigError
from shipper.push.way import Way
from shipper.state import Tell

_NEEDS_RESTART = ("state_dir", "listen")
"""What other processes rely on: the lock, and the address of the HTTP."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A configuration with which nothing can go wrong any more."""

    config: Config
    way: Way


def prepare(load: Callable[[], Config], current: Config, tell: Tell) -> Ready:
    """Return what is to be in force from now on; raises `ConfigError` with every problem there is."""
    wanted = load()
    problems = [
        f"{name}: {getattr(wanted, name)} is not {getattr(current, name)}: that needs a restart"
        for name in _NEEDS_RESTART
        if getattr(wanted, name) != getattr(current, name)
    ]
    if wanted.enabled is False:
        problems.append("loki_enabled: false ends no running shipper: stop it")
    if problems:
        raise ConfigError(problems)
    try:
        return Ready(wanted, Way(wanted.endpoint, tell))
    except ValueError as error:
        # A file of credentials was changed since the configuration was checked, a moment ago.
        raise ConfigError([str(error)]) from None
