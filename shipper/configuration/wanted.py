"""Which sources are wanted: those named by flags, environment or TOML, else those that are found."""

from __future__ import annotations

import glob
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from shipper.sources.base import Source
from shipper.sources.coo_llm import CooLlm
from shipper.sources.jsonl import Jsonl
from shipper.sources.llm_proxy import LlmProxy
from shipper.sources.loki_mode import LokiMode
from shipper.sources.rules import KEYS as RULE_KEYS
from shipper.sources.rules import rules_of

KINDS: dict[str, Callable[..., Source]] = {
    "loki-mode": LokiMode,
    "llm-proxy": LlmProxy,
    "coo-llm": CooLlm,
    "jsonl": Jsonl,
}


def sources(  # noqa: C901, PLR0917 - called once; each kind of mistake is told on its own
    source_flags: tuple[str, ...],
    table: Mapping[str, Any],
    environ: Mapping[str, str],
    values: Mapping[str, Any],
    default_machine: str,
    problems: list[str],
    *,
    needed: bool = True,
) -> tuple[Source, ...]:
    """Return the sources; what is wrong goes to `problems`, that there is none only where one is `needed`."""
    before = len(problems)
    wanted: list[tuple[str, str, Mapping[str, Any]]] = []
    listed = (
        list(source_flags) or environ.get("TALLYSHIP_SOURCES", "").split() or list(table.get("sources", []))
    )
    for text in listed:
        kind, equals, path = str(text).partition("=")
        if not equals or not path:
            problems.append(f"source {text!r}: must be KIND=PATH")
        else:
            wanted.append((kind, path, {}))
    if not listed:
        for entry in table.get("source", []):
            if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
                problems.append("[[source]]: needs kind and path")
            else:
                wanted.append((str(entry.get("kind")), entry["path"], entry))
    if not wanted and not problems:
        wanted = [(kind, path, {}) for kind, path in _found(environ)]
    machine = values["machine"] or default_machine
    made: dict[str, Source] = {}
    for kind, path, entry in wanted:
        if kind not in KINDS:
            problems.append(f"source {kind}={path}: unknown kind, must be one of {', '.join(KINDS)}")
            continue
        try:
            absolute = str(pathlib.Path(path).expanduser().absolute())
            absolute.encode()
        except (RuntimeError, UnicodeEncodeError):
            # No home directory of that name; or bytes that positions cannot hold.
            problems.append(f"source {kind}={path!r}: not a path that can be followed")
            continue
        named = _options(kind, path, entry, problems)
        source = KINDS[kind](absolute, values["environment"], machine, **named)
        made[source.name] = source
    if needed and not made and len(problems) == before:
        problems.append(
            "nothing to ship: no --source, and none of $LOKI_DIR, ./.loki, ~/.llm-provider-logs "
            "and ./logs/llm.log exists"
        )
    return tuple(made.values())


def _options(kind: str, path: str, entry: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return what a `[[source]]` table says beside kind and path."""
    known = {"kind", "path", "app", *(RULE_KEYS if kind == "jsonl" else ())}
    found = [f"unknown {name}" for name in entry if name not in known]
    options: dict[str, Any] = {}
    app = entry.get("app")
    if app is not None:
        options["app"] = str(app)
    if kind == "jsonl":
        options["rules"], wrong = rules_of(entry)
        found += wrong
    problems += [f"source {kind}={path}: {problem}" for problem in found]
    return options


def _found(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what is there without configuration."""
    candidates = [
        ("loki-mode", environ.get("LOKI_DIR") or ".loki"),
        ("llm-proxy", "~/.llm-provider-logs"),
        ("coo-llm", "logs/llm.log"),
    ]
    return [
        (kind, glob.escape(str(path)))
        for kind, text in candidates
        for path in (pathlib.Path(text).expanduser().absolute(),)
        if (path.is_file() if kind == "coo-llm" else path.is_dir())
    ]
