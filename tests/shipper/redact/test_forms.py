"""What is known by its neighbours is masked in every place, and what only stands for a secret is left."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import forms
import planted

from shipper.redact.redactor import Redactor

REDACTOR = Redactor()
FORMS = forms.forms(random.Random(1))


IDS = [f"{number} {kind}: {text[:40]!r}" for number, (kind, text, _) in enumerate(FORMS)]


@pytest.mark.parametrize(("kind", "text", "secret"), FORMS, ids=IDS)
def test_a_secret_known_by_its_neighbours_is_masked_in_every_place_of_a_record(
    kind: str, text: str, secret: str
) -> None:
    """No part of it is left, JSON is JSON, and a second time nothing is found."""
    left = []
    for record in (planted.REQUEST, planted.RESPONSE):
        for place, line in planted.places(record, text):
            masked, rules = REDACTOR.line(line)
            if not rules or secret.encode() in masked:
                left.append((place, masked))
            read = json.loads(masked)
            if read.get("body"):
                json.loads(read["body"])
            assert REDACTOR.line(masked) == (masked, [])
    assert left == []
    assert kind in REDACTOR.line(text.encode())[1]


@pytest.mark.parametrize(("kind", "text", "secret"), FORMS, ids=IDS)
def test_a_head_shows_no_secret_of_these_forms_wherever_it_is_cut(kind: str, text: str, secret: str) -> None:
    """What would have told that it is one may be cut off; but a key in PEM has its END in another line."""
    if "BEGIN" not in text and "END RSA" in text:
        return
    line = json.dumps({"a": "some words", "b": text, "c": "more words"}).encode()
    for end in range(len(line)):
        assert secret[: max(10, len(secret) - 8)].encode() not in REDACTOR.head(line[:end]), (
            kind,
            line[:end],
        )


@pytest.mark.parametrize("seed", range(2, 12))
def test_other_random_text_in_the_same_forms_is_masked_too(seed: int) -> None:
    """The forms are no list of lucky ones."""
    left = [
        (place, text)
        for _, text, secret in forms.forms(random.Random(seed))
        for record in (planted.REQUEST, planted.RESPONSE)
        for place, line in planted.places(record, text)
        if secret.encode() in REDACTOR.line(line)[0]
    ]
    assert left == []


def test_random_passwords_in_urls_are_masked_whatever_their_signs() -> None:
    """Percent-encoded, as they must be."""
    left = []
    for password in map(forms.encoded, forms.passwords(random.Random(3), 3000)):
        line = json.dumps({"body": json.dumps({"x": f"URL=postgres://app:{password}@db.test:5432/x"})})
        if password in REDACTOR.text(line):
            left.append(password)
    assert left == []


def test_random_passwords_in_fields_are_masked_whatever_their_signs() -> None:
    """What begins with a sign of a template is none yet. Letters alone are not promised."""
    left = []
    for password in forms.passwords(random.Random(4), 3000):
        line = json.dumps({"body": json.dumps({"password": password})})
        if password in REDACTOR.text(line) and not password.isalpha():
            left.append(password)
    assert left == []


@pytest.mark.parametrize(
    "value",
    [
        "sk-ant-...q2AA",
        "sk-ant-api03-...q2AA",
        "sk-...abcd",
        "Bearer sk-proj-...wxyz",
        "Bearer eyJhbGci...wxyz",
    ],
)
@pytest.mark.parametrize("name", ["X-Api-Key", "Authorization"])
def test_what_somebody_else_has_cut_to_its_ends_is_left(name: str, value: str) -> None:
    """A few letters tell which key it was, and no more."""
    line = json.dumps({"headers": {name: [value]}})
    assert REDACTOR.text(line) == line
    assert REDACTOR.text(f"> {name}: {value}\r\n") == f"> {name}: {value}\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "postgres://app:${DB_PASSWORD}@db/x postgres://app:$DB_PASSWORD@db/x postgres://app:$password@db/x",
        "postgres://app:{password}@db/x postgres://app:{{ pw }}@db postgres://app:<password>@db/x",
        "postgres://app:[YOUR-PASSWORD]@db/x postgres://%s:%s@%s/x postgres://app:%(password)s@db/x",
        "postgres://app:***@db/x http://localhost:3000#top@2x http://localhost:8080?mail=someone@x.test",
        "ssh://git@github.com/a/b.git https://someone-with-a-long-name-2000@host.test/x",
        '["http://a.test:80","someone@x.test"], <http://localhost:8080>,<someone@x.test>',
        '"password": "$PASSWORD_2", "api_key": "%API_KEY_2%", "secret": "(password)"',
        '"pwd": "/home/a1b2c3d4e5f6a7b8", PWD=/home/a1b2c3d4e5f6a7b8c9',
        '"password": "\\u003cpassword1\\u003e"',
        '"api_key": "my_api_key_123", "secret": "your-secret-here-2"',
        '"nextPageToken": "CAUQAAdf78sdf6s8d7f6s8d7f6", "next_token":"a7f6s8d7f6s8d7f6s8d7f"',
        '"token": "0xdAC17F958D2ee523a2206206994597C13D831ec7", "token": "internationalization"',
        "--max-tokens 40960 --token-count 12345678 --password-file /run/secrets/a1",
        "--token <token> --password PASSWORD --api-key settings.key2",
        "--token /var/run/secrets/token1 --secret id=npmrc2,src=/x",
        "--api-key $API_KEY_2",
        "Credentials: v4aCredentialProvider, Token: NewNoOpTrustBoundaryData(),",
        "responseToken = iamAssumeMockUserToken2",
        "docker run -u 1000:1000 x; rsync -u host1:dir22/path33 x; find . -print0 -prune -p dir12/dir34",
        "<password>required</password> <secret>name</secret>; login and password required1 for it",
        "Authorization: Bearer tokens; Authorization: Token authentication; Authorization: see RFC6750 there",
        '"auth": "required", "auth":"none1234", x;password=b2.c;y',
        "the api key 2 of 3, access token a1, the secret access key is: none",
        "Bearer AuthenticationMiddlewareFactories",
        "-----END CERTIFICATE----- and -----END RSA PRIVATE KEY----- and Private-Lines: none",
        "pa-some-long-name-of-a-branch-in-words-that-goes-on jina_embeddings_v3_base",
    ],
)
def test_what_only_stands_for_a_secret_is_left(text: str) -> None:
    """References, templates, words of a manual, cursors, ports and paths."""
    for line in (text, json.dumps({"text": text}), json.dumps({"body": json.dumps({"text": text})})):
        assert REDACTOR.text(line) == line
