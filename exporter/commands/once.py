"""One reading without a server: what `print` and `check` do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from prometheus_client.exposition import generate_latest

from exporter.config import Config
from exporter.logs import printable
from exporter.selfmetrics import SourceAccount
from exporter.service import make_collector, make_registry


def print_metrics(config: Config, out: BinaryIO) -> Sequence[str]:
    """Write one exposition, with all history read; return a line for each source that was down."""
    collector = make_collector(config, is_patient=False)
    try:
        collector.read_to_the_end()
        out.write(generate_latest(make_registry(collector)))
        out.flush()
        return [
            printable(f"{_title(account)} is down: {account.reading.down_reason}")
            for account in collector.accounts()
            if not account.reading.is_up
        ]
    finally:
        collector.close()


def describe(config: Config) -> tuple[Sequence[str], bool]:
    """Return what would be exported and from where, in lines for a person, and whether all of it is well."""
    collector = make_collector(config, is_patient=False)
    try:
        collector.read_to_the_end()
        list(collector.collect())
        accounts = collector.accounts()
        lines = [f"configuration is good; would answer at {config.listen_address}{config.telemetry_path}"]
        for account in accounts:
            lines.extend(_description(account))
        is_well = all(account.reading.is_up for account in accounts)
        return [printable(line) for line in lines], is_well
    finally:
        collector.close()


def _title(account: SourceAccount) -> str:
    labels = account.source.labels
    return " ".join([account.source.name, *(f"{name}={value}" for name, value in labels.items())])


def _description(account: SourceAccount) -> list[str]:
    reading = account.reading
    if not reading.is_up:
        return [f"{_title(account)}: down: {reading.down_reason}"]
    names = dict.fromkeys(row.family.name for row in reading.rows)
    lines = [f"{_title(account)}: up, {len(reading.rows)} series in {len(names)} metrics"]
    lines.extend(f"  not read: {problem.reason}: {problem.detail}" for problem in reading.problems)
    lines.append(f"  exports: {', '.join(names)}")
    absent = [family.name for family in account.source.families[:9] if family.name not in names]
    if absent:
        lines.append(f"  absent, because unknown: {', '.join(absent)}")
    return lines
