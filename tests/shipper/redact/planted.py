"""Secrets made up for the tests, one or more of each kind, and the places of a record where they can stand.

They are put together here, so that no scanner of repositories takes them for real ones.
"""

from __future__ import annotations

import base64
import json
import math
import random
import string
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from shipper.redact.redactor import Redactor

ALNUM = string.ascii_letters + string.digits
URL_SAFE = ALNUM + "-_"
HEX = string.digits + "abcdef"


class Planted(NamedTuple):
    """A piece of text with a secret in it."""

    kind: str
    text: str
    secrets: tuple[str, ...]
    """What must not be in the output."""


def _chars(chance: random.Random, alphabet: str, count: int) -> str:
    # Both kinds are always there: a check for random text must not hang on luck.
    return "a7" + "".join(chance.choices(alphabet, k=count - 2))


PREFIXED = {
    "anthropic_key": [
        ("sk-ant-api03-", URL_SAFE, 95),
        ("sk-ant-oat01-", URL_SAFE, 95),
        ("sk-ant-admin01-", URL_SAFE, 95),
    ],
    "openai_key": [("sk-proj-", URL_SAFE, 156), ("sk-svcacct-", URL_SAFE, 156), ("sk-admin-", URL_SAFE, 100)],
    "sk_key": [("sk-", ALNUM, 48), ("sk-", HEX, 32), ("sk-", URL_SAFE, 22)],
    "openrouter_key": [("sk-or-v1-", HEX, 64)],
    "google_key": [("AIzaSy", URL_SAFE, 33)],
    "google_oauth": [("ya29.", URL_SAFE, 120), ("GOCSPX-", URL_SAFE, 28)],
    "xai_key": [("xai-", ALNUM, 80)],
    "groq_key": [("gsk_", ALNUM, 52)],
    "perplexity_key": [("pplx-", ALNUM, 48)],
    "huggingface_key": [("hf_", string.ascii_letters, 34)],
    "replicate_key": [("r8_", ALNUM, 37)],
    "nvidia_key": [("nvapi-", URL_SAFE, 64)],
    "cerebras_key": [("csk-", string.ascii_lowercase + string.digits, 48)],
    "langfuse_key": [("sk-lf-", HEX, 36)],
    "langsmith_key": [("lsv2_pt_", HEX, 32)],
    "github_token": [
        ("ghp_", ALNUM, 36),
        ("gho_", ALNUM, 36),
        ("ghs_", ALNUM, 36),
        ("github_pat_", ALNUM + "_", 82),
    ],
    "gitlab_token": [("glpat-", URL_SAFE, 20)],
    "slack_token": [("xoxb-", ALNUM + "-", 50), ("xoxp-", ALNUM + "-", 70), ("xapp-1-", ALNUM + "-", 60)],
    "stripe_key": [("sk_live_", ALNUM, 24), ("rk_live_", ALNUM, 99)],
    "npm_token": [("npm_", ALNUM, 36)],
    "pypi_token": [("pypi-AgEI", URL_SAFE, 160)],
    "digitalocean_token": [("dop_v1_", HEX, 64)],
    "twilio_key": [("SK", HEX, 32)],
    "docker_token": [("dckr_pat_", URL_SAFE, 27)],
    "vault_token": [("hvs.", URL_SAFE, 90)],
    "grafana_token": [("glc_", ALNUM, 60)],
    "atlassian_token": [("ATATT3", URL_SAFE, 186)],
    "aws_key_id": [
        ("AKIA", string.ascii_uppercase + "234567", 16),
        ("ASIA", string.ascii_uppercase + "234567", 16),
    ],
}


def secrets(seed: int = 1) -> list[Planted]:
    """Return secrets of every kind."""
    chance = random.Random(seed)
    found = []
    for kind, forms in PREFIXED.items():
        for prefix, alphabet, count in forms:
            body = _chars(chance, alphabet, count)
            if kind == "aws_key_id":
                body = body.upper().replace("7", "Q", 1)
            if kind == "langsmith_key":
                body += "_" + _chars(chance, HEX, 10)
            body = body[:-1] + "z" if alphabet in {URL_SAFE, ALNUM + "-", ALNUM + "_"} else body
            found.append(Planted(kind, prefix + body, (prefix + body, body[-12:])))
    return found + _shaped(chance)


def _shaped(chance: random.Random) -> list[Planted]:
    random40 = _chars(chance, ALNUM, 40)
    random32 = _chars(chance, HEX, 32)
    signed = ".".join(
        ("eyJhbGciOiJIUzI1NiJ9", "eyJ" + _chars(chance, URL_SAFE, 60), _chars(chance, URL_SAFE, 42) + "z")
    )
    pair = base64.b64encode(b"someone:" + _chars(chance, ALNUM, 12).encode()).decode()
    word = _chars(chance, ALNUM, 14)
    odd = word + '"q\\w/' + _chars(chance, ALNUM, 6)
    account = base64.b64encode(chance.randbytes(64)).decode()
    aws = base64.b64encode(b"0?>" + chance.randbytes(27)).decode()
    pem = private_key(chance)
    lines = tuple(line for line in pem.splitlines() if "-----" not in line)
    sendgrid = f"SG.{_chars(chance, URL_SAFE, 22)}.{_chars(chance, URL_SAFE, 42)}z"
    return [
        Planted("sendgrid_key", sendgrid, (sendgrid,)),
        Planted("jwt", f"the token is {signed}, keep it", (signed,)),
        Planted("bearer_token", f"curl -H 'Authorization: Bearer {random40}' https://api.test/", (random40,)),
        Planted("basic_auth", f"Authorization: Basic {pair}", (pair,)),
        Planted("authorization", json.dumps({"Authorization": [f"Bearer {random40}"]}), (random40,)),
        Planted("authorization", json.dumps({"authorization": f"Basic {pair}"}), (pair,)),
        Planted("header_key", json.dumps({"X-Api-Key": [random32]}), (random32,)),
        Planted("header_key", json.dumps({"api-key": random32}), (random32,)),
        Planted("header_key", f'curl -H "x-api-key: {random32}"', (random32,)),
        Planted("url_password", f"postgres://app:{word}@db.test:5432/main", (word,)),
        Planted("url_password", f"https://someone:{word}%21@git.test/x.git", (word,)),
        Planted("query_key", f"https://api.test/v1/models?key={random40}&alt=sse", (random40,)),
        Planted("query_key", f"GET /x?a=1&api_key={random32} HTTP/1.1", (random32,)),
        Planted("query_key", f"https://x.blob.test/c?se=2027-01-01&sig={random40}%2Bx%3D", (random40,)),
        Planted("secret_field", json.dumps({"password": word}), (word,)),
        Planted("secret_field", json.dumps({"user": "u", "client_secret": odd}), (word, odd[-6:])),
        Planted("secret_field", json.dumps({"mistral": {"api_key": random32}}), (random32,)),
        Planted("secret_field", f"export MISTRAL_API_KEY={random32}\n", (random32,)),
        Planted("secret_field", f"DB_PASSWORD={word}\n", (word,)),
        Planted(
            "secret_field",
            f"AccountName=x;AccountKey={account};EndpointSuffix=core.test",
            (account, account[-12:]),
        ),
        Planted(
            "secret_field",
            f"Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey={account}",
            (account, account[-12:]),
        ),
        Planted("secret_field", f"aws_secret_access_key = {aws}\n", (aws, aws[-10:])),
        Planted("secret_field", json.dumps({"SecretAccessKey": aws, "Expiration": "x"}), (aws,)),
        Planted("private_key", pem, lines),
        Planted("private_key", json.dumps({"type": "service_account", "private_key": pem}), lines),
        Planted(
            "private_key",
            "".join(f"{n:6}\u2192{line}\n" for n, line in enumerate(pem.splitlines(), 1)),
            lines,
        ),
        Planted("private_key", " +\n".join(f'  "{line}\\n"' for line in pem.splitlines()), lines),
    ]


def private_key(chance: random.Random) -> str:
    """Return what looks like a private key in PEM, with a last line that is short."""
    text = base64.b64encode(chance.randbytes(583)).decode()
    rows = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(("-----BEGIN RSA PRIVATE KEY-----", *rows, "-----END RSA PRIVATE KEY-----", ""))


def places(record: dict[str, Any], text: str) -> Iterator[tuple[str, bytes]]:
    """Put a text everywhere a request or a response can have one; yield the place and the line."""
    kind = record["type"]
    for place, plant in (_REQUEST if kind == "request" else _RESPONSE).items():
        copy = json.loads(json.dumps(record))
        plant(copy, text)
        yield f"{kind}: {place}", line(copy)


def line(record: dict[str, Any]) -> bytes:
    """Return a record as llm-proxy writes it: compact, sorted, and with <, > and & escaped."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _header(record: dict[str, Any], text: str) -> None:
    record["headers"]["X-Odd"] = [text]


def _path(record: dict[str, Any], text: str) -> None:
    record["path"] = f"/v1/messages/{text}"


def _body(content: Callable[[str], Any]) -> Callable[[dict[str, Any], str], None]:
    def plant(record: dict[str, Any], text: str) -> None:
        body = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": content(text)}],
        }
        record["body"] = json.dumps(body)
        record.pop("chunks", None)

    return plant


def _chunk(record: dict[str, Any], text: str) -> None:
    event = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": f"It is {text} now"},
    }
    _streamed(record, event)


def _tool_chunk(record: dict[str, Any], text: str) -> None:
    partial = json.dumps({"command": f"echo {text}"})
    _streamed(
        record,
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": partial}},
    )


def _streamed(record: dict[str, Any], event: dict[str, Any]) -> None:
    at = "2026-11-21T01:43:46.671+01:00"
    raws = (f"event: {event['type']}\n", f"data: {json.dumps(event)}\n", "\n")
    record.pop("body", None)
    record["chunks"] = [{"ts": at, "delta_ms": n, "raw": raw} for n, raw in enumerate(raws)]


def _error(record: dict[str, Any], text: str) -> None:
    record["body"] = json.dumps(
        {"type": "error", "error": {"type": "invalid_request_error", "message": f"bad: {text}"}}
    )
    record.pop("chunks", None)


def _tool_result(text: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_01A",
            "content": [{"type": "text", "text": f"out:\n{text}\n"}],
        }
    ]


def _tool_use(text: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "tool_use",
            "id": "toolu_01A",
            "name": "Write",
            "input": {"file_path": "/x", "content": text},
        }
    ]


_REQUEST: dict[str, Callable[[dict[str, Any], str], None]] = {
    "header": _header,
    "path": _path,
    "prompt": _body(lambda text: f"first line\n{text}\nlast line"),
    "prompt in text blocks": _body(lambda text: [{"type": "text", "text": f"\t{text}"}]),
    "tool result": _body(_tool_result),
    "tool result that is JSON": _body(
        lambda text: _tool_result(json.dumps({"stdout": json.dumps({"x": text})}))
    ),
    "tool input": _body(_tool_use),
}
_RESPONSE: dict[str, Callable[[dict[str, Any], str], None]] = {
    "header": _header,
    "error": _error,
    "chunk": _chunk,
    "tool input in a chunk": _tool_chunk,
}

REQUEST = {
    "_meta": {
        "host": "api.anthropic.com",
        "machine": "dev@workstation-1",
        "request_id": "c525c5b1-d55f-4e39-b948-5f062f54f36b",
        "session": "20261121-004346-ec7ae409",
        "ts": "2026-11-21T00:43:46.670434399Z",
    },
    "type": "request",
    "seq": 1,
    "method": "POST",
    "path": "/v1/messages",
    "headers": {"Accept": ["application/json"], "X-Api-Key": ["sk-ant-...q2AA"]},
    "body": "{}",
    "size": 2,
}
RESPONSE = {
    "_meta": {**REQUEST["_meta"], "ts": "2026-11-21T00:43:46.714363195Z"},  # type: ignore[dict-item]
    "type": "response",
    "seq": 1,
    "status": 200,
    "headers": {"Content-Type": ["text/event-stream"], "Request-Id": ["req_011Cg8n1AW9xY194itophPj3ud"]},
    "timing": {"ttfb_ms": 4, "total_ms": 47},
    "size": 0,
    "chunks": [],
}


def seconds(redactor: Redactor, unit: bytes, size_bytes: int) -> float:
    """Return the least CPU time of three that a line of such units takes."""
    line = unit * (size_bytes // len(unit))
    best = math.inf
    for _ in range(3):
        began = time.process_time()
        redactor.line(line)
        best = min(best, time.process_time() - began)
    return best
