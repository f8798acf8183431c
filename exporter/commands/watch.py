"""Lays a page of metrics out for a person who watches it on a terminal: pure, samples in, lines out.

Grouped by project, aligned, with what changed since the last page marked by how much, so that the eye finds
it without colours too. Label values come from files: what a terminal would obey is made visible.
"""

from __future__ import annotations

import math
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from exporter.glance import phrases
from exporter.logs import printable

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A series: its name and its labels."""

_OWN = "exporter"
_LONE = "Loki Mode"
_STATUS = {0.0: "stopped", 1.0: "running", 2.0: "paused"}
_GAP = 2
_NAME_CELLS = 44
"""So much of a name is shown before a remark gets its room."""
_VALUE_CELLS, _CHANGE_CELLS, _REMARK_CELLS = 8, 8, 16
"""Kept free even when nothing needs them, so that the columns do not move from page to page."""


class Sample(NamedTuple):
    """One series: the group it is shown in, its labels without the group's, and its value."""

    group: str
    name: str
    labels: str
    value: float


@dataclass(frozen=True, slots=True)
class Style:
    """Escape sequences around a heading, what is less important, what changed, and what is wrong; or none."""

    heading: str = ""
    soft: str = ""
    changed: str = ""
    wrong: str = ""
    end: str = ""


PLAIN = Style()
COLOURS = Style("\x1b[1m", "\x1b[2m", "\x1b[1;32m", "\x1b[1;31m", "\x1b[0m")


class NoPageError(ValueError):
    """What was fetched is no page of metrics."""


def parse_page(text: str) -> dict[Key, Sample]:
    """Return the samples by series, in the page's order, without the buckets of histograms.

    Raises `NoPageError`.
    """
    samples: dict[Key, Sample] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.name.endswith("_bucket"):
                    key = (sample.name, tuple(sorted(sample.labels.items())))
                    samples[key] = _sample(sample.name, sample.labels, float(sample.value))
    except (ValueError, IndexError, KeyError) as error:
        raise NoPageError(f"no page of metrics: {error}") from error
    return samples


def _sample(name: str, labels: Mapping[str, str], value: float) -> Sample:
    if not name.startswith("loki_"):
        return Sample(_OWN, name, _spelled(labels.items()), value)
    rest = [(label, text) for label, text in labels.items() if label != "project"]
    return Sample(printable(labels.get("project", _LONE)), name, _spelled(rest), value)


def _spelled(labels: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{label}={printable(text)}" for label, text in labels)


class _Line(NamedTuple):
    """One series as it is shown; `change` is empty where nothing changed."""

    name: str
    labels: str
    value: str
    change: str
    remark: str


def frame(
    now: Mapping[Key, Sample],
    before: Mapping[Key, Sample] | None,
    *,
    header: str,
    trouble: str | None,
    size: tuple[int, int],
    now_s: float,
    style: Style = PLAIN,
) -> list[str]:
    """Return the lines of one screen: `size` is columns and rows, `before` the page shown last, if any.

    `trouble` is a sentence on why the numbers are old. Nothing is wider or longer than the screen; what does
    not fit is counted.
    """
    columns, rows = size
    head = [clip(header, columns, style.soft, style.end)]
    if trouble is not None:
        head.append(clip(printable(trouble), columns, style.wrong, style.end))
    body = list(_body(now, before, columns, now_s, style))
    room = max(1, rows - len(head))
    if len(body) > room:
        shown = room - 1
        more = f"... {len(body) - shown} more lines: a taller window, or --filter NAME, shows them"
        body = [*body[:shown], clip(more, columns, style.soft, style.end)]
    return [*head, *body]


def _body(
    now: Mapping[Key, Sample],
    before: Mapping[Key, Sample] | None,
    columns: int,
    now_s: float,
    style: Style,
) -> Iterator[str]:
    groups: dict[str, list[_Line]] = {}
    for key, sample in now.items():
        groups.setdefault(sample.group, []).append(_line(key, sample, before, now_s))
    own = groups.pop(_OWN, [])
    # The exporter's labels are long (file names): they would push the projects' numbers far away.
    for section in filter(None, (groups, {_OWN: own} if own else {})):
        widths = _widths([line for group in section.values() for line in group], columns)
        for title, group in section.items():
            yield ""
            yield clip(title, columns, style.heading, style.end)
            for line in group:
                yield _laid_out(line, widths, columns, style)


def _line(key: Key, sample: Sample, before: Mapping[Key, Sample] | None, now_s: float) -> _Line:
    change = ""
    if before is not None:
        old = before.get(key)
        change = "new" if old is None else _difference(sample.value - old.value)
    if sample.name.endswith("_info"):
        return _Line(sample.name, "", "", change, sample.labels)
    return _Line(sample.name, sample.labels, number(sample.value), change, _remark(sample, now_s))


def _difference(difference: float) -> str:
    if not difference or math.isnan(difference):
        return ""
    return f"{'+' if difference > 0 else '-'}{number(abs(difference))}"


def number(value: float) -> str:
    """Return a number as short as it can be told exactly enough: whole ones whole, others to 6 digits."""
    if math.isfinite(value) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 (what a float holds)
        return f"{value:.0f}"
    return f"{value:.6g}"


def _remark(sample: Sample, now_s: float) -> str:
    """Return what the number means to a person, where the number alone does not say it."""
    name, value = sample.name, sample.value
    if not math.isfinite(value) or value < 0:
        return ""
    if name == "loki_session_status":
        return _STATUS.get(value, "")
    if name.endswith(("_timestamp_seconds", "_mtime_seconds", "_start_time_seconds")):
        return phrases.since(value, now_s)
    if name.endswith("_seconds") and value >= 60:  # noqa: PLR2004 (below a minute, seconds say it)
        return phrases.duration(value)
    if name.endswith("_bytes") and value >= 1024:  # noqa: PLR2004 (a KiB)
        return phrases.size(int(value))
    return ""


class _Widths(NamedTuple):
    """Cells of the columns; names are cut where the screen is narrow, numbers never."""

    name: int
    value: int


def _widths(lines: Sequence[_Line], columns: int) -> _Widths:
    value = max([_VALUE_CELLS, *(len(line.value) for line in lines)])
    name = max(cells(_title(line)) for line in lines)
    room = columns - value - _CHANGE_CELLS - 3 * _GAP
    with_remark = max(_NAME_CELLS, room - _REMARK_CELLS - _GAP)
    return _Widths(max(1, min(name, room, with_remark)), value)


def _title(line: _Line) -> str:
    return f"{line.name} {line.labels}".rstrip()


def _laid_out(line: _Line, widths: _Widths, columns: int, style: Style) -> str:
    """Return one line: name with labels, value, and, where there is room, change and remark."""
    title = clip(_title(line), widths.name)
    labels = title[len(line.name) :]
    padding = " " * (widths.name - cells(title))
    shown = f"{title[: len(line.name)]}{style.soft}{labels}{style.end}" if labels.strip() else title
    begin, end = (style.changed, style.end) if line.change else ("", "")
    text = f"{' ' * _GAP}{shown}{padding}{' ' * _GAP}{begin}{line.value:>{widths.value}}{end}"
    left = columns - 2 * _GAP - widths.name - widths.value
    for content, width, marks in (
        (line.change, _CHANGE_CELLS, (begin, end)),
        (line.remark, left - _GAP - _CHANGE_CELLS - _GAP, (style.soft, style.end)),
    ):
        fitting = clip(content, width) if width > 1 and left >= _GAP + min(width, cells(content)) else ""
        text += f"{' ' * _GAP}{marks[0]}{fitting}{marks[1]}" if fitting else " " * _GAP
        text += " " * (width - cells(fitting))
        left -= _GAP + width
    return text.rstrip()


def cells(text: str) -> int:
    """Return how many cells of a terminal the text takes."""
    return sum(_cells_of(character) for character in text)


def _cells_of(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clip(text: str, columns: int, begin: str = "", end: str = "") -> str:
    """Return as much of the text as fits, between the two escape sequences; a cut is marked with `~`."""
    if cells(text) > columns:
        kept, used = [], 0
        for character in text:
            used += _cells_of(character)
            if used > columns - 1:
                break
            kept.append(character)
        text = "".join(kept) + "~"
    return f"{begin}{text}{end}" if text else ""


def clock_time(unix_s: float, zone: Callable[[float], time.struct_time] = time.localtime) -> str:
    """Return the time of day where the terminal is."""
    return time.strftime("%H:%M:%S", zone(unix_s))
