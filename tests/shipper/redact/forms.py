"""Secrets that are known by what stands around them: in URLs, headers cut short, command lines and files."""

from __future__ import annotations

import base64
import json
import random
import string
from urllib.parse import quote

ALNUM = string.ascii_letters + string.digits
SIGNS = "!@#$%^&*()-_=+[]{}"

Form = tuple[str, str, str]
"""The kind, the text, and what must not be in the output."""


def forms(chance: random.Random) -> list[Form]:
    """Return one text of each form."""
    word = "a7" + "".join(chance.choices(ALNUM, k=10))
    opaque = "Xa7" + "".join(chance.choices(ALNUM, k=37))
    return [
        *_urls(word, opaque),
        *_elided(opaque),
        *_named(word, opaque),
        *_commands(word, opaque),
        *_files(opaque),
    ]


def passwords(chance: random.Random, count: int) -> list[str]:
    """Return random passwords with signs."""
    return ["".join(chance.choices(ALNUM + SIGNS, k=16)) for _ in range(count)]


def _urls(word: str, opaque: str) -> list[Form]:
    starts = (
        "$",
        "(",
        "[",
        "{",
        "<",
        "%24",
        "%28",
        "%5B",
        "*",
        "my_",
        "your",
        "p@",
        "a@b@",
        "#",
        "a?",
        "a'b",
        "$X",
    )
    return [
        *(("url_password", f"DATABASE_URL=postgres://app:{start}{word}@db:5432/x", word) for start in starts),
        ("url_password", f"redis://:({word})@db/0", word),
        ("url_password", f"https://{opaque}@git.test/x.git", opaque),
        ("url_password", f"https://{opaque}:x-oauth-basic@git.test/x.git", opaque),
    ]


def _elided(opaque: str) -> list[Form]:
    head = "eyJhbGciOiJSUzI1NiJ9."
    google = "AIzaSy" + opaque[:28]
    return [
        ("header_key", json.dumps({"X-Api-Key": [f"{google}...wxyz"]}), google[8:]),
        ("header_key", f"> x-api-key: {google}...wxyz\r\n> Accept: x", google[8:]),
        ("authorization", json.dumps({"Authorization": [f"Bearer {opaque}...wxyz"]}), opaque[8:]),
        ("authorization", json.dumps({"Authorization": [f"{opaque}...wxyz"]}), opaque[8:]),
        ("authorization", json.dumps({"Authorization": f"Bearer {head}eyJ{opaque}...wxyz"}), opaque),
        ("bearer_token", f"it sent Bearer {opaque}...wxyz to the server", opaque[8:]),
        ("secret_field", json.dumps({"api_key": f"{opaque}...wxyz"}), opaque[8:]),
    ]


def _named(word: str, opaque: str) -> list[Form]:
    aws = "wJalrXUtnFEMIabcdMDENGabPxRfiCYZZMPLEKEY"
    names = (
        "token",
        "GITHUB_TOKEN",
        "private_token",
        "bot_token",
        "signingKey",
        "encryption_key",
        "pwd",
        "pass",
    )
    quoted = [("secret_field", json.dumps({name: opaque}), opaque) for name in names]
    bare = [
        ("secret_field", f"{name}={opaque}\n", opaque)
        for name in (*names[:4], "access_token", "client_secret")
    ]
    return [
        *quoted,
        *bare,
        ("secret_field", f"token: {opaque}", opaque),
        ("secret_field", f"api_key: `{opaque}`", opaque),
        ("secret_field", json.dumps(["x-api-key", opaque]), opaque),
        ("secret_field", json.dumps({"argv": ["--api-key", opaque]}), opaque),
        ("secret_field", json.dumps({"SecretAccessKey": aws}), aws),
        ("secret_field", json.dumps({"password": f"${word}Tr"}), word),
        ("secret_field", json.dumps({"password": f"({word}"}), word),
        ("secret_field", json.dumps({"api_key": f"my_{opaque}"}), opaque),
        ("secret_field", f"Server=x;User Id=sa;Password={word}!;", word),
        ("secret_field", f"Server=x;Uid=sa;Pwd={word};", word),
        ("secret_field", f"DB_PASSWORD=Sup3r!&{word}\n", word),
        ("secret_field", f"password: abcdefgh01234567!{word}\n", word),
        ("secret_field", f"<password>{word}</password>", word),
        ("query_key", f"https://x.test/a?subscription-key={opaque}&x=1", opaque),
        ("query_key", f"https://x.test/a?b=1&pwd={opaque}", opaque),
    ]


def _commands(word: str, opaque: str) -> list[Form]:
    letters = "".join(sign for sign in opaque if sign.isalpha()) + "aBcDeFgHiJ"
    return [
        ("secret_field", f"tool --api-key {opaque} run", opaque),
        ("secret_field", f"tool --token '{opaque}' run", opaque),
        ("secret_field", f"tool --password {word} run", word),
        ("secret_field", f"tool --db-password={word} run", word),
        ("secret_field", f"export OPENAI_API_KEY={opaque} && run", opaque),
        ("secret_field", f"set -x AWS_SECRET_ACCESS_KEY {opaque}", opaque),
        ("secret_field", f"AWS Secret Access Key [None]: {opaque}", opaque),
        ("secret_field", f"ngrok authtoken {opaque}", opaque),
        ("secret_field", f"curl -s -u admin:{word} http://x", word),
        ("secret_field", f"mysql -u root -p{word} -h db", word),
        ("secret_field", f"machine api.test login bob password {word}", word),
        ("header_key", f"curl -H 'x-api-key: {opaque}' https://api.test", opaque),
        ("authorization", f"curl -H 'Authorization: token {opaque}' https://api.test", opaque),
        ("authorization", f"> Authorization: {opaque}\r\n> Accept: x", opaque),
        ("authorization", f"> authorization: {letters}\r\n> Accept: x", letters),
        ("bearer_token", f"say Bearer {letters} now", letters),
        (
            "authorization",
            f"Authorization: AWS4-HMAC-SHA256 Credential=x/us-east-1, Signature={'0a1b2c3d' * 8}",
            "0a1b2c3d" * 8,
        ),
    ]


def _files(opaque: str) -> list[Form]:
    row = (opaque * 2)[:64]
    auth = base64.b64encode(f"bob:{opaque}".encode()).decode()
    return [
        ("basic_auth", json.dumps({"auths": {"ghcr.test": {"auth": auth}}}), auth),
        ("private_key", f"Private-Lines: 2\n{row}\n{row[:20]}\nPrivate-MAC: 0a1b", row),
        ("private_key", f"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{row}\n---- END SSH2", row),
        ("private_key", f"{row}\n{row}\nAb3d=\n-----END RSA PRIVATE KEY-----\n", row),
        ("search_key", f"jina_{opaque}{opaque}"[:65], opaque[:20]),
        ("search_key", f"pa-{opaque}{opaque}"[:46], opaque[:20]),
    ]


def encoded(password: str) -> str:
    """Return a password as it stands in a URL."""
    return quote(password, safe="")
