from __future__ import annotations

import pathlib
from typing import Any

import pytest

from shipper.configuration.config import Config, ConfigError, load, state_dir, switched_off
from shipper.configuration.settings import SETTINGS

URL = "http://loki:3100"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let neither the working directory nor the home hold anything to ship."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def loaded(
    flags: dict[str, str | None] | None = None,
    environ: dict[str, str] | None = None,
    toml: str | None = None,
    sources: tuple[str, ...] = ("jsonl=/logs/*.jsonl",),
    **more: Any,
) -> Config:
    """Return the configuration of these flags, this environment, and a TOML file in the working directory."""
    path = None
    if toml is not None:
        path = "tallyship.toml"
        pathlib.Path(path).write_text(toml)
    return load({"loki_url": URL, **(flags or {})}, sources, path, environ or {}, "u@h", **more)


def problems(**arguments: Any) -> list[str]:
    """Return what is wrong."""
    with pytest.raises(ConfigError) as caught:
        loaded(**arguments)
    return caught.value.problems


def test_defaults_are_those_of_the_specification() -> None:
    """1000 entries, 5 s, 256 KiB, five retries, 1.2 MB/s, environment `development`."""
    config = loaded()

    assert (config.options.limits.entries, config.options.limits.body_bytes) == (1000, 262_144)
    assert (config.options.batch_wait_s, config.retry_max, config.shutdown_timeout_s) == (5.0, 5, 30.0)
    assert (config.options.max_stream_rate_bps, config.options.window_entries) == (1_200_000, 10_000)
    assert (config.listen, config.endpoint.use_gzip, config.enabled) == (("127.0.0.1", 57375), True, None)
    info = config.sources[0].describe("/logs/a.jsonl")
    assert dict(info.labels) == {"app": "jsonl", "environment": "development", "machine": "u@h"}


def test_flags_come_before_environment_before_file_before_defaults() -> None:
    """Each level hides the next."""
    toml, environ = (
        "batch_size = 3\nbatch_bytes = '3KiB'\nbatch_wait = '3s'",
        {
            "TALLYSHIP_BATCH_SIZE": "2",
            "TALLYSHIP_BATCH_BYTES": "2KiB",
        },
    )

    options = loaded({"batch_size": "1"}, environ, toml).options

    assert (options.limits.entries, options.limits.body_bytes, options.batch_wait_s) == (1, 2048, 3.0)


def test_the_names_of_llm_proxy_work() -> None:
    """Its environment variables, its flat names, and its table; the user has them already."""
    environ = {
        "LLM_PROXY_LOKI_URL": "http://env:1",
        "LLM_PROXY_LOKI_BATCH_WAIT": "2s",
        "LLM_PROXY_LOKI_USE_GZIP": "false",
    }

    from_environment = loaded({"loki_url": None}, environ)
    flat = loaded(
        {"loki_url": None}, toml='loki_url = "http://flat:1"\nloki_batch_size = 7\nloki_enabled = true'
    )
    table = loaded({"loki_url": None}, toml='[loki]\nurl = "http://table:1"\nretry_max = 2\nenabled = false')

    assert (from_environment.endpoint.url, from_environment.endpoint.use_gzip) == (
        "http://env:1/loki/api/v1/push",
        False,
    )
    assert (flat.endpoint.url, flat.options.limits.entries, flat.enabled) == (
        "http://flat:1/loki/api/v1/push",
        7,
        True,
    )
    assert (table.endpoint.url, table.retry_max, table.enabled) == (
        "http://table:1/loki/api/v1/push",
        2,
        False,
    )


def test_zero_retries_are_five_as_in_llm_proxy() -> None:
    """0 means its default there, and so it does in its users' files."""
    assert loaded({"retry_max": "0"}).retry_max == 5


def test_all_problems_come_at_once() -> None:
    """Nobody mends one to be told of the next."""
    found = problems(
        flags={
            "loki_url": "ftp://x",
            "batch_size": "0",
            "batch_bytes": "lots",
            "batch_wait": "soon",
            "listen_address": "5",
        },
        environ={"LLM_PROXY_LOKI_ENABLED": "perhaps"},
        toml="unheard_of = 1",
        sources=("jsonl", "tail=/x"),
    )

    for word in (
        "ftp://x",
        "--batch-size",
        "--batch-bytes",
        "--batch-wait",
        "--listen-address",
        "loki_enabled",
        "unheard_of",
    ):
        assert sum(word in problem for problem in found) == 1, word
    assert sum("KIND=PATH" in problem for problem in found) == 1
    assert sum("unknown kind" in problem for problem in found) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", "-1"),
        ("batch_size", "many"),
        ("retry_max", "-1"),
        ("use_gzip", "maybe"),
        ("request_timeout", "0s"),
        ("old_lines", "drop"),
        ("listen_address", "host:70000"),
        ("listen_address", "host:²"),
        ("max_open_files", "0"),
        ("dead_letter_max_bytes", "0"),
        ("log_level", "loud"),
        ("bearer_token_file", "/nowhere/token"),
    ],
)
def test_a_bad_value_is_named_with_its_setting(name: str, value: str) -> None:
    """And nothing is half started."""
    (problem,) = problems(flags={name: value})

    assert name.replace("_", "-") in problem or name in problem


@pytest.mark.parametrize(
    "toml",
    [
        "source = 5",
        "sources = 5",
        "sources = 'x'",
        "loki = 5",
        "[source]\npath = '/x'",
        "[[source]]",
        "batch_size = [1]",
    ],
)
def test_a_value_of_the_wrong_kind_in_the_file_is_a_problem_and_no_crash(toml: str) -> None:
    """Somebody wrote the file by hand."""
    assert problems(toml=toml, sources=())


@pytest.mark.parametrize("content", [b"\xff", b"batch_size =", b"x = [" * 10])
def test_a_file_that_is_no_toml_is_one_problem(content: bytes) -> None:
    """With its path."""
    pathlib.Path("bad.toml").write_bytes(content)

    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load({"loki_url": URL}, ("jsonl=/x",), "bad.toml", {}, "u@h")


def test_a_missing_file_is_a_problem() -> None:
    """Who names one wants it read."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load({"loki_url": URL}, ("jsonl=/x",), "nowhere.toml", {}, "u@h")


def test_without_an_address_nothing_runs_unless_it_is_switched_off() -> None:
    """`enabled = false` exits 0 with a message, whatever else is missing."""
    assert any("no Loki" in problem for problem in problems(flags={"loki_url": None}))
    assert loaded({"loki_url": None, "enabled": "false"}).enabled is False
    assert loaded({"loki_url": None}, need_loki=False).endpoint.url == ""


def test_a_token_is_not_in_what_prints_a_configuration() -> None:
    """`repr` ends in tracebacks."""
    assert "sesame" not in repr(loaded({"auth_token": "sesame"}))


def test_a_token_in_a_file_is_read_when_it_is_used(tmp_path: pathlib.Path) -> None:
    """Files of secrets are changed while we run; the newline at their end is none of it."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    config = loaded({"bearer_token_file": str(token)})
    token.write_text("newer\n")

    assert config.endpoint.authorization()["Authorization"] == "Bearer newer"


def test_an_empty_variable_is_as_good_as_none() -> None:
    """Unit files and compose files set variables to nothing where nothing was chosen: the file counts."""
    environ = {"TALLYSHIP_BATCH_SIZE": "", "LLM_PROXY_LOKI_BATCH_SIZE": "", "LLM_PROXY_LOKI_ENABLED": ""}

    config = loaded(environ=environ, toml="loki_batch_size = 3")

    assert (config.options.limits.entries, config.enabled) == (3, None)


@pytest.mark.parametrize(
    ("value", "off"), [("false", True), ("0", True), ("true", False), ("", False), ("perhaps", False)]
)
def test_the_switch_is_read_before_all_else(value: str, off: bool) -> None:  # noqa: FBT001 - a table's value
    """A wrong setting elsewhere says nothing against being switched off."""
    env = {"LLM_PROXY_LOKI_ENABLED": value, "TALLYSHIP_BATCH_BYTES": "many"}

    assert switched_off({}, None, env) is off


def test_zero_configuration_finds_what_is_there(tmp_path: pathlib.Path) -> None:
    """`$LOKI_DIR`, else `./.loki`, and the proxy's logs in the home."""
    for name in (".loki", "other[1]", ".llm-provider-logs"):
        (tmp_path / name).mkdir()

    here = [source.name for source in loaded(sources=()).sources]
    named = [source.name for source in loaded(sources=(), environ={"LOKI_DIR": "other[1]"}).sources]

    assert here == [f"loki-mode={tmp_path}/.loki", f"llm-proxy={tmp_path}/.llm-provider-logs"]
    assert named[0] == f"loki-mode={tmp_path}/other[[]1]"


def test_coo_llms_own_default_file_is_found_without_configuration(tmp_path: pathlib.Path) -> None:
    """`./logs/llm.log`, where it is a file."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "llm.log").touch()

    (source,) = loaded(sources=()).sources

    assert (source.kind, source.patterns) == ("coo-llm", (f"{tmp_path}/logs/llm.log",))


def test_nothing_to_ship_is_a_problem() -> None:
    """It says where was looked."""
    assert any("nothing to ship" in problem for problem in problems(sources=()))


@pytest.mark.parametrize("path", ["/logs/\udcff/*.jsonl", "~nobody-of-that-name/x"])
def test_a_source_that_no_position_could_name_is_a_problem(path: str) -> None:
    """One is bytes that are no UTF-8, the other a home that does not exist."""
    (problem,) = problems(sources=(f"jsonl={path}",))

    assert "not a path that can be followed" in problem
    assert problem.encode()


@pytest.mark.parametrize(
    ("flag", "environ", "directory"),
    [
        ("/a", {"STATE_DIRECTORY": "/b"}, "/a"),
        (None, {"TALLYSHIP_STATE_DIR": "/c", "STATE_DIRECTORY": "/b"}, "/c"),
        (None, {"STATE_DIRECTORY": "/b:/other"}, "/b"),
        (None, {"XDG_STATE_HOME": "/x"}, "/x/tallyship-shipper"),
    ],
)
def test_the_state_directory_is_the_flags_then_systemds_then_xdgs(
    flag: str | None, environ: dict[str, str], directory: str
) -> None:
    """The first that is set."""
    assert state_dir(flag, environ) == pathlib.Path(directory)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_default_is_valid(name: str) -> None:
    """It is parsed like any other value."""
    SETTINGS[name].parse(SETTINGS[name].default)


def test_an_empty_listen_address_is_none() -> None:
    """Then there is no HTTP at all."""
    assert loaded({"listen_address": ""}).listen is None


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_variable_for_the_listen_address_switches_the_http_off(text: str) -> None:
    """For this one setting emptiness says something; for all others it is as good as none."""
    assert loaded(environ={"TALLYSHIP_LISTEN_ADDRESS": text}).listen is None
    assert loaded(environ={"TALLYSHIP_BATCH_SIZE": ""}).options.limits.entries == 1000
    assert loaded({"listen_address": "h:1"}, {"TALLYSHIP_LISTEN_ADDRESS": ""}).listen == ("h", 1)


def test_a_lines_limit_is_256_kib_and_never_below_8() -> None:
    """Stamps of parts have room for no more than one part for each 8 KiB."""
    assert loaded().options.max_entry_bytes == 262_144
    assert loaded({"max_entry_bytes": "8KiB"}).options.max_entry_bytes == 8192
    (problem,) = problems(flags={"max_entry_bytes": "8191"})
    assert problem.startswith("--max-entry-bytes: must be at least 8KiB")


def test_secrets_are_masked_unless_somebody_says_no() -> None:
    """By flag, environment or file."""
    assert loaded().redact is True
    assert loaded({"redact": "false"}).redact is False
    assert loaded(environ={"TALLYSHIP_REDACT": "off"}).redact is False
    assert loaded(toml="redact = false").redact is False


def test_own_rules_for_masking_are_a_list_of_tables() -> None:
    """Each has a name, which is a metric's label, and a pattern."""
    toml = """
[[redact]]
name = "ticket"
pattern = 'TCK-[0-9]{8}'
[[redact]]
name = "badge"
pattern = 'B\\d+'
"""
    config = loaded(toml=toml)

    assert config.redact is True
    assert config.redact_rules == (("ticket", "TCK-[0-9]{8}"), ("badge", "B\\d+"))


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[[redact]]\nname = 'a'\n", "needs name and pattern"),
        ("redact = [1]\n", "needs name and pattern"),
        ("[[redact]]\nname = 'A b'\npattern = 'x'\n", "a name is"),
        ("[[redact]]\nname = 'a'\npattern = '('\n", "'a'"),
        ("[[redact]]\nname = 'a'\npattern = 'x*'\n", "empty text"),
        ("[[redact]]\nname = 'a'\npattern = 'x'\n[[redact]]\nname = 'a'\npattern = 'y'\n", "already"),
    ],
)
def test_a_rule_that_cannot_be_used_is_a_problem(toml: str, words: str) -> None:
    """It says which one."""
    (problem,) = problems(toml=toml)

    assert "redact" in problem
    assert words in problem


def test_a_clients_certificate_and_its_key_belong_together(tmp_path: pathlib.Path) -> None:
    """And what cannot be read, or is no certificate, is found before the start."""
    file = tmp_path / "x.pem"
    file.write_text("no certificate")
    missing = tmp_path / "missing.pem"
    found = problems(flags={"client_key_file": str(file), "ca_file": str(missing)})

    assert "client_key_file: needs client_cert_file" in found
    assert f"ca_file: {missing} cannot be read" in found
    assert problems(flags={"ca_file": str(file)}) == [f"ca_file: {file}: no certificate in it"]


def test_the_systems_authorities_are_not_read_to_look_at_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They take longer than all else of the start, and nothing in them can be a mistake in a setting."""

    def read(*_files: str) -> None:
        raise ValueError("read")

    monkeypatch.setattr("shipper.configuration.config.make_context", read)
    own = pathlib.Path("own.pem")
    own.write_text("")

    assert loaded().endpoint.ca_file == ""
    assert loaded(flags={"loki_url": "https://loki"}).endpoint.ca_file == ""
    assert problems(flags={"ca_file": str(own)}) == ["read"]


def test_what_needs_no_source_is_not_told_to_give_one() -> None:
    """`cat` only reads from Loki."""
    assert loaded(sources=(), need_sources=False).sources == ()


def test_a_missing_source_is_told_beside_all_other_problems() -> None:
    """All in one message."""
    assert len(problems(sources=(), flags={"batch_size": "none"})) == 2


def test_what_an_own_rule_says_beside_name_and_pattern_is_a_problem() -> None:
    """A misspelt key would otherwise be a rule that does something else."""
    rule = "[[redact]]\nname = 'x'\npattern = 'y'\nflags = 'i'\n"
    assert problems(toml=rule) == ["[[redact]] x: unknown flags"]
