"""A status as people like to read it. Pure: status in, lines out, colours as the caller paints them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Paint = Callable[[str, str], str]
"""(text, colour) to text."""
_COLOURS = {"ok": "green", "degraded": "yellow", "failing": "red"}
_UNITS = (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))
_LABEL_CHARS = 14
_NUMBERS_CHARS = 34
_LEAST_NAME_CHARS = 20


def render(status: Mapping[str, Any], width_chars: int, paint: Paint) -> Iterator[str]:
    """Return the lines of the table."""
    state = str(status["health"])
    yield _row(
        "shipper", f"{paint(state, _COLOURS.get(state, 'red'))}, up {duration(status['uptime_seconds'])}"
    )
    for problem in status["problems"]:
        yield _row("", paint(shown(problem), "yellow"))
    yield _row("Loki", shown(status["loki"]))
    rate = status["lines_per_second"]
    pace = "" if rate is None else f", {rate:,.1f} a second of late"
    yield _row("sent", f"{status['entries_sent']:,} lines{pace}")
    refused = status["open_circuits"]
    streams = f"{status['streams']:,}, " + (
        paint(f"{refused:,} refused", "red") if refused else "none refused"
    )
    yield _row("streams", streams)
    waiting = status["window_entries"]
    oldest = f", the oldest for {duration(status['oldest_unacked_seconds'])}" if waiting else ""
    yield _row("in memory", f"{waiting:,} lines{oldest}")
    yield _row("masked", _counts(status["masked"]) or "nothing")
    dead = _counts(status["dead_letters"])
    size = f", {amount(status['dead_letter_file_bytes'])} on disk" if status["dead_letter_file_bytes"] else ""
    yield _row("dead letters", paint(dead, "yellow") + size if dead else f"none{size}")
    error = status["last_error"]
    yield _row("last error", f"{status['last_error_time']} {shown(error)}" if error else "none")
    yield ""
    yield from _sources(status["lag"], max(_LEAST_NAME_CHARS, width_chars - _NUMBERS_CHARS), paint)
    watches, opened = status["watches"], status["files_open"]
    yield f"{status['files']:,} files, {opened:,} of them open; {watches:,} directories watched"


def _sources(lag: Mapping[str, Mapping[str, float]], most_chars: int, paint: Paint) -> Iterator[str]:
    names = {name: fitted(shown(name), most_chars) for name in lag}
    wide = max([len("source"), *map(len, names.values())])
    yield paint(f"{'source':<{wide}} {'files':>8} {'behind':>10} {'for':>10}", "bold")
    for name, found in lag.items():
        behind = found["bytes"]
        late = f"{amount(behind):>10} {duration(found['seconds']):>10}" if behind else f"{'-':>10} {'-':>10}"
        yield f"{names[name]:<{wide}} {found['files']:>8,.0f} {late}"


def _row(label: str, text: str) -> str:
    return f"{label:<{_LABEL_CHARS}}{text}"


def _counts(counts: Mapping[str, float]) -> str:
    some = sorted(((name, count) for name, count in counts.items() if count), key=lambda pair: -pair[1])
    if not some:
        return ""
    total = sum(count for _, count in some)
    return f"{total:,.0f} ({', '.join(f'{name} {count:,.0f}' for name, count in some)})"


def shown(text: object) -> str:
    """Return text from elsewhere without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text))


def fitted(text: str, most_chars: int) -> str:
    """Return a name that is not wider: its beginning and, what tells more, its end."""
    if len(text) <= most_chars:
        return text
    head = most_chars // 3
    return f"{text[:head]}\u2026{text[len(text) - (most_chars - head - 1) :]}"


def duration(seconds: float) -> str:
    """Return it in the two units that matter."""
    if seconds < 10:  # noqa: PLR2004 - only there a tenth says something
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, next_unit, next_size in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {unit} {rest} {next_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def amount(size_bytes: float) -> str:
    """Return bytes in the unit that fits."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes:.0f} B"
