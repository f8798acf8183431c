"""Writes findings for a person: what is wrong first, each with its cause and what mends it; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from exporter.doctor.findings import Finding, Level
from exporter.logs import printable

_INDENT = " " * 7
_COLUMNS = 100


def report(findings: Sequence[Finding]) -> list[str]:
    """Return the lines. Names in it come from files: nothing in it moves a cursor."""
    lines = [line for level in Level for f in findings if f.level is level for line in _finding(f)]
    return [printable(line) for line in [*lines, *_end(findings)]]


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing must be mended."""
    return not any(finding.level is Level.WRONG for finding in findings)


def _finding(finding: Finding) -> Iterator[str]:
    head = f"{finding.level.value:<6} {finding.subject}: {finding.text}"
    yield from wrap(head, _COLUMNS, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False)
    if finding.cause is not None:
        yield from wrap(
            f"because {finding.cause}",
            _COLUMNS,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
    # Commands stay whole: they are copied.
    yield from (f"{_INDENT}  {command}" for command in finding.mend)


def _end(findings: Sequence[Finding]) -> Iterator[str]:
    many = sum(finding.level is Level.WRONG for finding in findings)
    yield ""
    if many:
        yield f"{'1 thing is' if many == 1 else f'{many} things are'} wrong."
    else:
        yield "Nothing is wrong here. If Prometheus shows no numbers all the same, look at its page /targets."
