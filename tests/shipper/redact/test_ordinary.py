"""Lines without secrets come through as they are."""

from __future__ import annotations

import json
import random
import re
import string
from pathlib import Path

import pytest

from shipper.redact.redactor import Redactor

FIXTURES = Path(__file__).parents[2] / "fixtures"
LINES = 10_000
REDACTOR = Redactor()
_ID = re.compile(
    rb"(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{8,}(?![A-Za-z0-9])|[0-9]{2,}"
)

TRAPS = (
    "commit 3f8a1c0d9b7e6f5a4c3b2a1908f7e6d5c4b3a291 by someone",
    "c525c5b1-d55f-4e39-b948-5f062f54f36b",
    "use an sk- prefix, as in sk-ant-... or sk-proj-..., never the key itself",
    '<div class="sk-loading-spinner-container-wrapper sk-fading-circle-2">',
    "task-0123456789abcdef0123456789abcdef and disk-a1b2c3d4e5f6a7b8c9d0e1f2",
    '"max_tokens": 8192, "max_completion_tokens": 32000, "input_tokens": 12345',
    "The password is stored as a hash; see password_hash and reset_password(token).",
    "password: string; secret: string; api_key: str | None = None",
    'api_key = os.environ["OPENAI_API_KEY"]',
    "api_key=settings.openai_api_key2, base_url=settings.url",
    'const apiKey = process.env.API_KEY_2; headers: {"x-api-key": `${apiKey}`}',
    '"password": {"type": "string", "minLength": 8}, "required": ["password"]',
    '"api_key": "YOUR_API_KEY_HERE_123", "secret": "${SECRET_2}", "password": "<password1>"',
    '"password": "required", "secret": "", "access_token": null',
    "https://medium.com/@someone/a-title-1234567890ab?source=home#top",
    "https://example.test/path:with/colon@2x.png and git@github.com:org/repo.git",
    "http://127.0.0.1:57375/metrics, http://[::1]:3100/loki/api/v1/push",
    "npm_config_registry npm_lifecycle_event npm_package_json hf_hub_download hf_transfer ghp_ xai-sdk",
    "claude-sonnet-4-5-20250929, gpt-4o-2024-08-06, us.anthropic.claude-sonnet-4-20250514-v1:0",
    "msg_01XFDUDYJgAACzvnptvVoYEL toolu_01A09q90qw90lq917835lq9 req_011CT2ULf4ttvevGHQDpJgcbRU",
    "chatcmpl-BqNfYxZ9RrQ3vZ2JvK8sT1uW5xY7z resp_68b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5",
    "mcp__github__create_pull_request, mcp__key-value__get, basic-auth, Bearer tokens, Basic authentication",
    "Bearer authentication is required; basic information follows",
    "AKIA is how they begin; SKU12345678; SKIPPED; SG.something",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0B\n-----END CERTIFICATE-----",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "a line that begins -----BEGIN RSA PRIVATE KEY----- is a key, and it ends -----END RSA PRIVATE KEY-----",
    "eyJhbGciOiJIUzI1NiJ9 is the head of a JWT",
    "?key=value&sort=asc&token=next&sig=none&page_token=CAUQAA",
    "2026-11-21T00:43:46.670434399Z level=info key=value secret=false token_count=12",
    "pkg@1.2.3 user@host:/path ssh://git@github.com/org/repo scope:@types/node@20",
    "Authorization: see the docs. The Authorization header must be set.",
    '"authorization": "Requests need an authorization header", "x-api-key": "..."',
    "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= integrity",
)


def fixture_lines() -> list[bytes]:
    """Return every line of the recorded logs."""
    found: list[bytes] = []
    for path in sorted(FIXTURES.rglob("*")):
        if path.suffix in {".jsonl", ".log"}:
            found += [line for line in path.read_bytes().split(b"\n") if line]
    return found


def varied(line: bytes, chance: random.Random) -> bytes:
    """Return the line with other numbers and ids of the same form."""

    def other(match: re.Match[bytes]) -> bytes:
        text = match[0].decode()
        hexadecimal = not set(text) - set("0123456789abcdef")
        return "".join(_like(char, chance, hexadecimal=hexadecimal) for char in text).encode()

    return _ID.sub(other, line)


def _like(char: str, chance: random.Random, *, hexadecimal: bool) -> str:
    if char.isdigit():
        return chance.choice("123456789")
    if hexadecimal:
        return chance.choice("abcdef")
    return chance.choice(string.ascii_lowercase if char.islower() else string.ascii_uppercase)


def test_ordinary_lines_of_the_recorded_logs_are_not_altered() -> None:
    """Ten thousand: those of the fixtures, and the same with other ids and numbers."""
    lines = fixture_lines()
    assert len(lines) > 500
    chance = random.Random(4)
    while len(lines) < LINES:
        lines += [varied(line, chance) for line in lines[: LINES - len(lines)]]
    altered = [line for line in lines if REDACTOR.line(line)[1]]
    assert altered == []
    assert REDACTOR.lines(lines).lines is lines


@pytest.mark.parametrize("text", TRAPS)
def test_what_only_looks_like_a_secret_is_left(text: str) -> None:
    """Neither in a line of its own nor in JSON inside JSON."""
    for line in (text, _json(text), _json(_json(text)), _json(_json(_json(text)))):
        assert REDACTOR.text(line) == line


def test_random_base64_is_left() -> None:
    """Images, signatures and encrypted reasoning are megabytes of it."""
    chance = random.Random(5)
    for alphabet in (
        string.ascii_letters + string.digits + "+/",
        string.ascii_letters + string.digits + "-_",
    ):
        blob = "".join(chance.choices(alphabet, k=4_000_000))
        line = f'{{"data":"{blob}"}}'.encode()
        assert REDACTOR.line(line) == (line, [])


def _json(text: str) -> str:
    return json.dumps({"text": text})
