from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.config import SETTINGS, Config, ConfigError, load_config
from exporter.web.listen import Address


def problems(flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    """Return everything that is wrong with a configuration."""
    with pytest.raises(ConfigError) as caught:
        load_config(flags or {}, environ or {})
    return caught.value.problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a configuration file that sets a value for everything."""
    prices = tmp_path / "prices.toml"
    prices.write_text('[models]\n"x" = { input = 1, output = 1 }\n', "utf-8")
    path = tmp_path / "exporter.toml"
    path.write_text(
        f"""
        loki_dir = ["/file/a", "/file/b"]
        registry = true
        listen_address = "file.example:1"
        telemetry_path = "/file"
        cache_seconds = 11
        pricing = "{prices}"
        state_max_age_seconds = 12.5
        keep_seconds = 13
        pids = "hidden"
        log_format = "json"
        [projects]
        "/file/a" = "shop"
        """,
        "utf-8",
    )
    return path


def test_nothing_given_is_the_defaults() -> None:
    """Works with no configuration at all."""
    assert load_config({}, {}) == Config()
    assert Config().loki_dirs == ("./.loki",)
    assert str(Config().listen_address) == "127.0.0.1:57374"


def test_the_file_goes_before_the_defaults(file: Path) -> None:
    """Every setting can stand in the file."""
    config = load_config({"config": str(file)}, {})

    assert config.loki_dirs == ("/file/a", "/file/b")
    assert config.registry == "~/.loki/dashboard/projects.json"
    assert config.listen_address == Address("file.example", 1)
    assert config.telemetry_path == "/file"
    assert (config.cache_s, config.state_max_age_s, config.keep_s) == (11, 12.5, 13)
    assert (config.pids, config.log_format) == ("hidden", "json")
    assert config.names == {"/file/a": "shop"}
    assert set(config.prices) == {"x"}


def test_the_environment_goes_before_the_file(file: Path) -> None:
    """The documented variables and ours, each before the file."""
    environ = {
        "LOKI_DIR": "/env/.loki",
        "LOKI_METRICS_PORT": "99",
        "LOKI_METRICS_PATH": "/env",
        "TALLYSHIP_EXPORTER_CACHE_SECONDS": "0",
        "TALLYSHIP_EXPORTER_CONFIG": str(file),
    }
    config = load_config({}, environ)

    assert config.loki_dirs == ("/env/.loki",)
    assert config.listen_address == Address("file.example", 99)
    assert config.telemetry_path == "/env"
    assert config.cache_s == 0
    assert config.keep_s == 13


def test_flags_go_before_all(file: Path) -> None:
    """What is written on the command line counts."""
    flags = {
        "config": str(file),
        "loki_dir": ("/flag/.loki",),
        "listen_address": "127.0.0.2:7",
        "telemetry_path": "/flag",
        "cache_seconds": "1",
    }
    environ = {"LOKI_DIR": "/env", "LOKI_METRICS_PORT": "99", "LOKI_METRICS_PATH": "/env"}
    config = load_config(flags, environ)

    assert config.loki_dirs == ("/flag/.loki",)
    assert config.listen_address == Address("127.0.0.2", 7)
    assert config.telemetry_path == "/flag"
    assert config.cache_s == 1


def test_empty_variables_and_flags_not_given_say_nothing() -> None:
    """`LOKI_DIR=` is no directory, and None is no flag."""
    environ = dict.fromkeys(
        ("LOKI_DIR", "LOKI_METRICS_PORT", "LOKI_METRICS_PATH", "LOKI_METRICS_ENABLED"), ""
    )

    assert load_config({"loki_dir": (), "registry": None, "config": None}, environ) == Config()


def test_the_registry_alone_reads_no_default_directory() -> None:
    """Who asks for the registered projects does not get ./.loki besides; who names both gets both."""
    assert load_config({"registry": "/r.json"}, {}).loki_dirs == ()
    assert load_config({"registry": "/r.json"}, {"LOKI_DIR": "/x"}).loki_dirs == ("/x",)


@pytest.mark.parametrize(
    ("text", "is_enabled"),
    [("true", True), ("1", True), ("false", False), ("FALSE", False), (" off ", False)],
)
def test_an_explicit_false_switches_off(text: str, is_enabled: bool) -> None:  # noqa: FBT001 (a table)
    """LOKI_METRICS_ENABLED has its documented meaning, except that its absence stops nothing."""
    assert load_config({}, {"LOKI_METRICS_ENABLED": text}).is_enabled is is_enabled


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """One message has every problem, each with where it stands; nothing is half configured."""
    file = tmp_path / "c.toml"
    file.write_text('keep_seconds = "soon"\nunknwon = 1\n[projects]\n"/x" = 3\n', "utf-8")
    found = problems(
        {"config": str(file), "listen_address": "nowhere", "cache_seconds": "-1", "pids": "maybe"},
        {"LOKI_METRICS_PATH": "no-slash", "LOKI_METRICS_ENABLED": "perhaps", "LOKI_METRICS_PORT": "x"},
    )
    text = "\n".join(found)

    assert len(found) == 8
    for words in (
        "--web.listen-address: ",
        "--cache-seconds: '-1' is no number of seconds",
        "--pids: 'maybe' is none of auto, visible, hidden",
        "environment LOKI_METRICS_PATH: ",
        "environment LOKI_METRICS_ENABLED: 'perhaps'",
        "keep_seconds: 'soon'",
        "unknown setting 'unknwon'",
        "projects: must be a table of names",
    ):
        assert words in text


@pytest.mark.parametrize("port", ["x", "0x10", "-1", "65536", "1.5", " "])
def test_a_port_that_is_none_is_said(port: str) -> None:
    """LOKI_METRICS_PORT must be a port number."""
    (problem,) = problems({}, {"LOKI_METRICS_PORT": port})

    assert problem.startswith("environment LOKI_METRICS_PORT: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loki_dir = 5", "loki_dir: must be a directory"),
        ("loki_dir = []", "loki_dir: must not be empty"),
        ('loki_dir = ["", "/x"]', "loki_dir: must be a directory"),
        ("registry = 5", "registry: must be a file"),
        ("listen_address = 57374", "listen_address: must be text"),
        ('telemetry_path = "/a b"', "telemetry_path: "),
        ("cache_seconds = true", "cache_seconds: True is no number"),
        ("cache_seconds = nan", "cache_seconds: nan is no number"),
        ("cache_seconds = 1e9", "cache_seconds: "),
        ('log_format = "xml"', "log_format: 'xml' is none of logfmt, json"),
        ('pricing = "/no/such/file"', "pricing: /no/such/file: No such file"),
        ("projects = 5", "projects: must be a table"),
        ("Loki_dir = '/x'", "unknown setting 'Loki_dir'"),
        ("= 5", "configuration file"),
    ],
)
def test_what_a_file_gets_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    """The setting and what it must be, in one line."""
    file = tmp_path / "c.toml"
    file.write_text(text, "utf-8")
    (problem,) = problems({"config": str(file)})

    assert words in problem
    assert "\n" not in problem


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Neither a missing file nor a directory in its place is passed over."""
    assert "No such file" in problems({"config": str(tmp_path / "none")})[0]
    assert "directory" in problems({"config": str(tmp_path)})[0]


def test_every_setting_has_a_field() -> None:
    """No setting is parsed and then lost."""
    assert {field for field, _ in SETTINGS.values()} <= set(Config.__dataclass_fields__)
