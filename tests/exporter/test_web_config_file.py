from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from certificates import TOKEN_ENTRY
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.config_file import ClientAuth, Pem, Refused, WebConfig, parse

FOLDER = Path("/etc/tallyship")
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
"""The example hash of exporter-toolkit's documentation."""
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
MUTUAL = f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"
IF_GIVEN = f"{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n"
HEADERS = """
http_server_config:
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1; mode=block
    Strict-Transport-Security: max-age=31536000
"""


def problems(text: str) -> tuple[str, ...]:
    """Return why the text is refused."""
    refused = parse(text, FOLDER)
    assert isinstance(refused, Refused)
    return refused.problems


def config(text: str) -> WebConfig:
    """Return what the text says; it must be good."""
    parsed = parse(text, FOLDER)
    assert isinstance(parsed, WebConfig), parsed
    return parsed


# What exporter-toolkit documents and we support


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but a comment\n",
        TLS,
        f"basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\n",
        f"{TLS}basic_auth_users:\n  alice: {HASH}\n",
        f"{TLS}  client_auth_type: NoClientCert\n",
        f'{TLS}  client_auth_type: ""\n',
        IF_GIVEN,
        MUTUAL,
        f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca: PEM\n",
        f"{MUTUAL}  client_allowed_sans:\n    - one\n    - 127.0.0.1\n",
        "tls_server_config:\n  cert: PEM\n  key: PEM\n",
        f"{TLS}  min_version: TLS12\n  max_version: TLS13\n",
        f"{TLS}  min_version: TLS13\n",
        f"{TLS}  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  - TLS_AES_128_GCM_SHA256\n",
        f"{TLS}  max_version: TLS12\n  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n",
        f"{TLS}  max_version: TLS12\n  cipher_suites: []\n",
        f"{TLS}  cipher_suites: []\n",
        f"{TLS}  prefer_server_cipher_suites: false\n",
        f"{TLS}http_server_config:\n  http2: false\n",
        HEADERS,
        "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    X-XSS-Protection: ''\n",
    ],
)
def test_a_documented_example_is_accepted(text: str) -> None:
    """Every key of exporter-toolkit that is supported, in the forms that its documentation shows."""
    assert isinstance(parse(text, FOLDER), WebConfig)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rate_limit:\n  interval: 1s\n  burst: 5\n", "rate_limit"),
        ("basic_auth_excluded_paths: [/-/healthy]\n", "basic_auth_excluded_paths"),
        ("auth_excluded_paths: [/metrics]\n", "auth_excluded_paths"),
        ("bearer_auth_tokens: [secret-token-in-plain-text]\n", "bearer_auth_tokens"),
        (f"{TLS}  curve_preferences: [CurveP256]\n", "tls_server_config.curve_preferences"),
        (f"{TLS}  min_version: TLS10\n", "tls_server_config.min_version: TLS10"),
        (f"{TLS}  min_version: TLS11\n", "tls_server_config.min_version: TLS11"),
        (f"{TLS}  min_version: TLS111\n", "tls_server_config.min_version: 'TLS111'"),
        (f"{TLS}  max_version: SSL30\n", "tls_server_config.max_version: 'SSL30'"),
        (f"{TLS}  min_version: TLS13\n  max_version: TLS12\n", "tls_server_config.max_version"),
        (
            f"{TLS}  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
            "tls_server_config.cipher_suites: are all of TLS 1.3, which max_version rules out",
        ),
        (f"{TLS}  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n", "TLS_RSA_WITH_AES_128_CBC_SHA"),
        (f"{TLS}  cipher_suites: [TLS_MADE_UP]\n", "TLS_MADE_UP"),
        (f"{TLS}  cipher_suites: TLS_AES_128_GCM_SHA256\n", "tls_server_config.cipher_suites"),
        (f"{TLS}  prefer_server_cipher_suites: maybe\n", "tls_server_config.prefer_server_cipher_suites"),
        (f"{TLS}  client_auth_type: RequestClientCert\n", "RequestClientCert"),
        (f"{TLS}  client_auth_type: RequireAnyClientCert\n", "RequireAnyClientCert"),
        (f"{TLS}  client_auth_type: RequireClientCert\n", "RequireClientCert"),
        (f"{TLS}  client_auth_type: Whatever\n", "'Whatever'"),
        (f"{TLS}  client_auth_type: VerifyClientCertIfGiven\n", "client_auth_type"),
        (f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n", "client_auth_type"),
        (f"{TLS}  client_ca_file: ca.crt\n", "tls_server_config.client_ca"),
        (f"{TLS}  client_allowed_sans: [one]\n", "tls_server_config.client_allowed_sans"),
        (
            f"{IF_GIVEN}  client_allowed_sans: [a]\n",
            "tls_server_config.client_allowed_sans",
        ),
        (f"{TLS}  cert: PEM\n", "cert_file and cert"),
        ("tls_server_config:\n  key_file: server.key\n", "neither cert_file nor cert"),
        ('tls_server_config:\n  cert_file: ""\n  key_file: server.key\n', "neither cert_file nor cert"),
        ("tls_server_config:\n  cert_file: server.crt\n", "neither key_file nor key"),
        ("tls_server_config: yes please\n", "tls_server_config: must be a table"),
        (f"{TLS}  cert_filee: x\n", "tls_server_config.cert_filee: is unknown"),
        ("tls_config:\n  cert_file: x\n", "tls_config: is unknown"),
        ("http_server_config:\n  http2: true\n", "http_server_config.http2"),
        ("http_server_config:\n  http3: true\n", "http_server_config.http3"),
        ("http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n", "X-Content-Type-Options"),
        ("http_server_config:\n  headers:\n    X-Frame-Options: alwaysallow\n", "X-Frame-Options"),
        ("http_server_config:\n  headers:\n    Server: mine\n", "headers.Server: is unknown"),
        (
            'http_server_config:\n  headers:\n    X-XSS-Protection: "1\\r\\nSet-Cookie: a=b"\n',
            "X-XSS-Protection: must be printable",
        ),
        ("basic_auth_users:\n  alice: plain\n", "basic_auth_users.alice"),
        ("basic_auth_users:\n  alice: $2a$10$tooshort\n", "basic_auth_users.alice"),
        (f"basic_auth_users:\n  alice: {HASH.replace('$10$', '$19$')}\n", "cost 19"),
        (f"basic_auth_users:\n  alice: {HASH.replace('$10$', '$03$')}\n", "cost 03"),
        (f'basic_auth_users:\n  "a:b": {HASH}\n', "colon"),
        (f"basic_auth_users:\n  17: {HASH}\n", "basic_auth_users: the name 17"),
        ("basic_auth_users: [alice]\n", "basic_auth_users: must be a table"),
        ("basic_auth_users:\n  alice:\n", "basic_auth_users.alice"),
        ("tallyship_bearer_tokens:\n  prom: a-token-in-plain-text\n", "tallyship_bearer_tokens.prom"),
        ("tallyship_bearer_tokens:\n  prom: sha256:abcd\n", "tallyship_bearer_tokens.prom"),
        ("tls_server_config:\n  cert: 12\n  key: x\n", "tls_server_config.cert: must be text"),
        ("- a list\n", "must be a table"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(text: str, name: str) -> None:
    """Whatever else exporter-toolkit knows, and whatever nobody knows, is an error that says what."""
    assert len(problems(text)) == 1
    assert name in problems(text)[0]


def test_the_example_of_the_readme_is_accepted() -> None:
    """As it stands, with every kind of section but the headers."""
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    found = config(readme.partition("```yaml\n")[2].partition("```")[0])

    assert found.tls is not None
    assert (len(found.users), len(found.tokens)) == (1, 1)


def test_all_problems_are_told_at_once() -> None:
    """Nobody mends a file line by line."""
    assert len(problems("tls_server_config: {}\n")) == 2
    text = "rate_limit: {}\nfoo: 1\ntls_server_config:\n  bar: 2\nbasic_auth_users:\n  alice: x\n  bob: y\n"

    told = problems(text)

    assert len(told) == 7
    for name in ("rate_limit", "foo", "bar", "cert_file", "key_file", "alice", "bob"):
        assert any(name in problem for problem in told)


# YAML that is not what it seems


@pytest.mark.parametrize(
    "text",
    [
        f"basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}\n",
        f"basic_auth_users:\n  alice: {HASH}\nbasic_auth_users:\n  bob: {HASH}\n",
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    """PyYAML would let the last one win, and a user or a whole section be gone."""
    assert problems(text)[0].startswith("a key that stands twice at line ")


@pytest.mark.parametrize(
    "text",
    [
        "basic_auth_users: {alice: hunter2-secret",
        "basic_auth_users:\n\talice: hunter2-secret\n",
        "basic_auth_users: !!python/object/apply:os.system [hunter2-secret]\n",
        "key: hunter2-secret\n oops: 1\n",
        "a: 2026-13-45 # hunter2-secret\n",
        "hunter2-secret: \x00\n",
        "a: &a [*b]  # hunter2-secret",
        "? [hunter2-secret]\n: 1\n",
    ],
)
def test_what_is_no_yaml_is_refused_without_quoting_it(text: str) -> None:
    """The message may say where, but the file holds secrets, and messages go to logs."""
    assert "hunter2" not in " ".join(problems(text))


def test_deep_nesting_is_refused() -> None:
    """It ends in a message, not in a crash."""
    assert problems("[" * 5000)


@given(st.text(max_size=200))
def test_no_text_whatever_raises(text: str) -> None:
    """Any text is a configuration or a reason."""
    assert isinstance(parse(text, FOLDER), WebConfig | Refused)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(
        ["tls_server_config", "basic_auth_users", "tallyship_bearer_tokens", "http_server_config", "x"]
    ),
)
def test_no_value_whatever_raises(value: object, section: str) -> None:
    """A value of any shape in any section is a configuration or a reason (JSON is YAML)."""
    import json  # noqa: PLC0415 (only here)

    assert isinstance(parse(json.dumps({section: value}), FOLDER), WebConfig | Refused)


# What is read


def test_files_are_relative_to_the_configuration_file() -> None:
    """As in exporter-toolkit, wherever the process was started."""
    tls = config(f"{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: /ca.crt\n").tls

    assert tls is not None
    assert (tls.cert, tls.key) == (Pem(FOLDER / "server.crt"), Pem(FOLDER / "server.key"))
    assert (tls.client_ca, tls.client_auth) == (Pem(Path("/ca.crt")), ClientAuth.IF_GIVEN)


def test_the_defaults_are_those_of_exporter_toolkit() -> None:
    """TLS 1.2 and 1.3, no client certificate, the server's preference."""
    tls = config(TLS).tls

    assert tls is not None
    assert (tls.min_version, tls.max_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert (tls.client_auth, tls.ciphers, tls.prefer_server_ciphers) == (ClientAuth.NONE, None, True)


def test_users_tokens_and_headers_are_read() -> None:
    """Users as bytes, as they come in a header; tokens as digests; blank headers not at all."""
    found = config(
        f"basic_auth_users: {{jürgen: {HASH}}}\ntallyship_bearer_tokens: {{prom: '{TOKEN_ENTRY}'}}\n"
        "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: ''}}\n"
    )

    assert found.users == {"jürgen".encode(): HASH.encode()}
    assert found.tokens == {"prom": bytes.fromhex(TOKEN_ENTRY.removeprefix("sha256:"))}
    assert found.headers == (("x-frame-options", "deny"),)


def test_what_is_secret_does_not_show() -> None:
    """Neither hashes nor an inline key are in the repr, which ends up in tracebacks and logs."""
    found = config(f"tls_server_config: {{cert: A, key: hunter2}}\nbasic_auth_users: {{alice: {HASH}}}\n")

    assert "hunter2" not in repr(found)
    assert HASH not in repr(found)
