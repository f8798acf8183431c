from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parent.parent.parent / "deploy"
PAGE = (FOLDER / "README.md").read_text("utf-8")


def test_every_file_has_its_place_in_the_table() -> None:
    """What is in the folder stands in the README, itself or by its folder or by the file it varies."""
    named = re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE)
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    variants = {name for name in files if name.startswith("prometheus/prometheus-")}
    unnamed = {name for name in files - variants if not any(name == n or name.startswith(n) for n in named)}

    assert unnamed == {"README.md"}
    assert len(variants) == 3
    assert "the three beside it" in PAGE


@pytest.mark.parametrize("path", re.findall(r"\]\((\.\./[^)]+)\)", PAGE))
def test_every_link_leads_somewhere(path: str) -> None:
    """Relative links of the README are files or folders of this repository."""
    assert (FOLDER / path).exists()


def test_every_alert_stands_in_the_table() -> None:
    """Names and number of the alerts are those of the rule file."""
    groups = yaml.safe_load((FOLDER / "prometheus/loki-mode-alerts.yml").read_text("utf-8"))["groups"]

    names = [rule["alert"] for group in groups for rule in group["rules"]]

    assert re.findall(r"^\| `((?:Loki|Tallyship)\w+)`", PAGE, re.MULTILINE) == names
