"""Configuration: who wins, what is wrong, and llm-proxy's own names."""

from __future__ import annotations

import pathlib

import pytest

from shipper.config import Config, ConfigError, load, switched_off
from shipper.push.endpoint import push_url
from shipper.units import parse_bytes, parse_duration_s


def made(
    flags: dict[str, str] | None = None,
    *,
    sources: tuple[str, ...] = ("jsonl=/x/*.jsonl",),
    file: str | None = None,
    env: dict[str, str] | None = None,
) -> Config:
    """Return a configuration with a Loki."""
    return load({"loki_url": "http://loki:3100", **(flags or {})}, sources, file, env or {}, "u@h")


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: pathlib.Path) -> None:
    """For one setting, each layer taken away in turn."""
    file = tmp_path / "c.toml"
    file.write_text('loki_batch_size = 3\nloki_environment = "from-file"\n')
    env = {"LLM_PROXY_LOKI_BATCH_SIZE": "2"}

    entries = [
        made({"batch_size": "1"}, file=str(file), env=env).options.limits.entries,
        made(file=str(file), env=env).options.limits.entries,
        made(file=str(file)).options.limits.entries,
        made().options.limits.entries,
    ]
    assert entries == [1, 2, 3, 1000]


def test_the_defaults_are_those_of_the_specification() -> None:
    """FR3, and the caps that the specification does not have."""
    config = made()

    assert (config.options.limits.entries, config.options.batch_wait_s, config.retry_max) == (1000, 5.0, 5)
    assert config.options.limits.body_bytes == 256 * 1024
    assert config.options.max_stream_rate_bps == 1_200_000
    assert config.endpoint.use_gzip
    assert (
        config.sources[0].labels(config.sources[0].describe("/x/a.jsonl"), ())["environment"] == "development"
    )
    assert config.listen == ("127.0.0.1", 57375)
    assert config.shutdown_timeout_s == 30.0


def test_the_table_of_llm_proxys_own_file_works_too(tmp_path: pathlib.Path) -> None:
    """The design has flat names, the program a table."""
    file = tmp_path / "c.toml"
    file.write_text('[loki]\nenabled = true\nurl = "http://other:3100"\nbatch_wait = "1s"\nretry_max = 0\n')
    config = load({}, ("jsonl=/x",), str(file), {}, "u@h")

    assert config.enabled is True
    assert config.endpoint.url == "http://other:3100/loki/api/v1/push"
    assert (config.options.batch_wait_s, config.retry_max) == (1.0, 5)


def test_all_problems_are_told_at_once(tmp_path: pathlib.Path) -> None:
    """Nobody wants to mend one mistake at a time."""
    file = tmp_path / "c.toml"
    file.write_text("batch_sise = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(
            {"loki_url": "ftp://x", "batch_bytes": "many", "listen_address": "x"},
            ("what=/x", "nothing"),
            str(file),
            {"LLM_PROXY_LOKI_ENABLED": "perhaps"},
            "u@h",
        )

    text = str(caught.value)
    for part in (
        "batch_sise",
        "ftp://x",
        "--batch-bytes",
        "--listen-address",
        "what=/x",
        "nothing",
        "loki_enabled",
    ):
        assert part in text


def test_without_sources_what_is_there_is_found(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$LOKI_DIR, ./.loki and ~/.llm-provider-logs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="nothing to ship"):
        made(sources=())
    (tmp_path / ".llm-provider-logs").mkdir()
    (tmp_path / ".loki").mkdir()

    assert {source.kind for source in made(sources=()).sources} == {"loki-mode", "llm-proxy"}


def test_secrets_are_not_shown(tmp_path: pathlib.Path) -> None:
    """A token from the environment is in no representation; one from a file is read at use."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    config = made({"bearer_token_file": str(token)}, env={"LLM_PROXY_LOKI_AUTH_TOKEN": "hidden"})

    assert "hidden" not in repr(config)
    assert config.endpoint.authorization()["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://loki:3100", "http://loki:3100/loki/api/v1/push"),
        ("http://loki:3100/", "http://loki:3100/loki/api/v1/push"),
        ("http://loki:3100/loki/api/v1/push", "http://loki:3100/loki/api/v1/push"),
        ("https://gate/logs", "https://gate/logs/loki/api/v1/push"),
        ("loki:3100", "http://loki:3100/loki/api/v1/push"),
    ],
)
def test_the_address_may_have_the_push_path_or_not(given: str, url: str) -> None:
    """Both are what people have in their settings."""
    assert push_url(given) == url


@pytest.mark.parametrize("text", ["", "http://", "http://u:p@loki", "http://loki:99999", "http://loki/?x=1"])
def test_an_address_that_cannot_be_meant_is_refused(text: str) -> None:
    """With the reason."""
    with pytest.raises(ValueError, match=r"."):
        push_url(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("256KiB", 262144), ("1.2MB", 1_200_000), ("4096", 4096), ("1 MiB", 1 << 20), ("2k", 2000)],
)
def test_sizes_are_read_as_people_write_them(text: str, number: int) -> None:
    """Decimal and binary units."""
    assert parse_bytes(text) == number


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("250ms", 0.25), ("1m30s", 90), ("7d", 604800), ("2", 2)]
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    """As in Go, and with days."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "5 parsecs", "-1s", "1s2"])
def test_what_is_no_duration_or_size_is_refused(text: str) -> None:
    """Instead of being taken for something else."""
    with pytest.raises(ValueError, match="not a"):
        parse_duration_s(text)
    with pytest.raises(ValueError, match="not a"):
        parse_bytes(f"{text}!")


def test_an_empty_variable_is_as_good_as_none(tmp_path: pathlib.Path) -> None:
    """Unit files and compose files set variables to nothing where nothing was chosen."""
    file = tmp_path / "c.toml"
    file.write_text("loki_batch_size = 3\n")
    env = {"TALLYSHIP_BATCH_SIZE": "", "LLM_PROXY_LOKI_BATCH_SIZE": "", "LLM_PROXY_LOKI_ENABLED": ""}

    config = made(file=str(file), env=env)

    assert (config.options.limits.entries, config.enabled) == (3, None)


@pytest.mark.parametrize(
    ("value", "off"), [("false", True), ("0", True), ("true", False), ("", False), ("perhaps", False)]
)
def test_the_switch_is_read_before_all_else(value: str, off: bool) -> None:  # noqa: FBT001 - a table's value
    """A wrong setting elsewhere says nothing against being switched off."""
    env = {"LLM_PROXY_LOKI_ENABLED": value, "TALLYSHIP_BATCH_BYTES": "many"}

    assert switched_off({}, None, env) is off
