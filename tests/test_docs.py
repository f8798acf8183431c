"""The documentation says what the programs do: help texts, metric tables, settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter import cli, config, selfmetrics, webmetrics
from exporter.source import Family
from exporter.sources.loki_mode import families, project_search
from shipper import cli as shipper_cli
from shipper.configuration import config as shipper_config
from shipper.configuration.config import ConfigError
from shipper.telling import exposition
from shipper.telling.metrics import Metrics

ROOT = Path(__file__).parent.parent
_ROW = re.compile(
    r"^\| `(?P<name>[a-z_]+)` \| (?P<kind>[a-z]+) \|(?P<labels>[^|]*)\| (?P<help>[^|]*) \|$", re.MULTILINE
)


def _families() -> dict[str, Family]:
    own = [
        v
        for module in (selfmetrics, webmetrics, project_search)
        for v in vars(module).values()
        if isinstance(v, Family)
    ]
    return {family.name: family for family in [*families.ALL, *own]}


@pytest.fixture(name="table")
def _table() -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    return {row["name"]: (row["kind"], row["help"]) for row in _ROW.finditer(text)}


def test_every_metric_stands_in_the_table_with_its_type_and_help(table: dict[str, tuple[str, str]]) -> None:
    """docs/metrics.md lists every family that the code defines, with the same words."""
    expected = {name: (family.kind.value, family.help) for name, family in _families().items()}

    assert expected == {name: row for name, row in table.items() if not name.startswith("tallyship_shipper_")}


def test_every_metric_of_the_shipper_stands_in_its_table(table: dict[str, tuple[str, str]]) -> None:
    """With its type and its help, to the letter."""
    found = {
        family.name + "_total" * (family.type == "counter"): (family.type, family.documentation)
        for family in exposition.families(Metrics())
    }

    assert found == {name: row for name, row in table.items() if name.startswith("tallyship_shipper_")}


@pytest.mark.parametrize("command", ["serve"])
def test_the_readme_shows_the_help_of_the_exporter(command: str) -> None:
    """What `tallyship-exporter serve --help` prints stands in the README to the letter."""
    shown = CliRunner().invoke(
        cli.main, [command, "--help"], prog_name="tallyship-exporter", terminal_width=110
    )

    assert shown.output.strip() in (ROOT / "README.md").read_text("utf-8")


def test_the_readme_shows_the_help_of_the_shipper() -> None:
    """What `tallyship-shipper run --help` prints stands in the README to the letter."""
    shown = CliRunner().invoke(
        shipper_cli.main, ["run", "--help"], prog_name="tallyship-shipper", terminal_width=80
    )

    assert shown.output.strip() in (ROOT / "README.md").read_text("utf-8")


def test_the_readme_names_every_setting_of_the_configuration_file() -> None:
    """The TOML example in the README sets every setting there is."""
    text = (ROOT / "README.md").read_text("utf-8")
    example = text.partition("```toml\n")[2].partition("```")[0]

    assert set(config.SETTINGS) <= set(re.findall(r"^#? ?([a-z_]+) =", example, re.MULTILINE))


def test_the_configuration_example_of_the_readme_loads(tmp_path: Path) -> None:
    """The TOML example in the README is accepted as it stands."""
    text = (ROOT / "README.md").read_text("utf-8")
    example = tmp_path / "exporter.toml"
    example.write_text(text.partition("```toml\n")[2].partition("```")[0], "utf-8")

    loaded = config.load_config({"config": str(example)}, {})

    assert loaded.names == {"/srv/shop/.loki": "shop"}


def test_the_shippers_example_in_the_readme_loads(tmp_path: Path) -> None:
    """The second TOML example is accepted as it stands, but for its files, which are not here."""
    text = (ROOT / "README.md").read_text("utf-8").partition("## The shipper")[2]
    example = tmp_path / "shipper.toml"
    example.write_text(text.partition("```toml\n")[2].partition("```")[0], "utf-8")

    with pytest.raises(ConfigError) as caught:
        shipper_config.load({}, (), str(example), {}, "u@h")

    assert caught.value.problems == ["ca_file: /etc/tallyship/ca.crt cannot be read"]
