"""Planted secrets of every kind in every place, and ordinary lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import planted

from shipper.redact.redactor import Redactor

REDACTOR = Redactor()


@pytest.mark.parametrize(
    "secret", planted.secrets(), ids=lambda secret: f"{secret.kind}: {secret.text[:16]!r}"
)
def test_a_secret_of_any_kind_is_masked_in_every_place_of_a_record(secret: planted.Planted) -> None:
    """No part of it is left, the line is still JSON, and so is the JSON in its body."""
    left = []
    for record in (planted.REQUEST, planted.RESPONSE):
        for place, line in planted.places(record, secret.text):
            masked, rules = REDACTOR.line(line)
            if not rules or any(text.encode() in masked for text in secret.secrets):
                left.append((place, masked))
            read = json.loads(masked)
            if read.get("body"):
                json.loads(read["body"])
            assert REDACTOR.line(masked) == (masked, [])
    assert left == []


@pytest.mark.parametrize("seed", range(2, 7))
def test_secrets_made_of_other_random_text_are_masked_too(seed: int) -> None:
    """The corpus is no list of lucky ones."""
    left = [
        (place, secret.text)
        for secret in planted.secrets(seed)
        for record in (planted.REQUEST, planted.RESPONSE)
        for place, line in planted.places(record, secret.text)
        if any(text.encode() in REDACTOR.line(line)[0] for text in secret.secrets)
    ]
    assert left == []
