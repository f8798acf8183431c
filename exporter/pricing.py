"""What a million tokens of a model cost, in USD: the built-in table and what overrides it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from exporter.files.jsonvalue import TornJsonError, as_mapping, as_number, parse_json

_PER_TOKEN = 1e-6
_CACHE_READ_FACTOR = 0.1
_CACHE_CREATION_FACTOR = 1.25


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens of each kind."""

    input: float
    output: float
    cache_read: float
    cache_creation: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one record; None where the record does not tell (v5.38 tells none, v6.82 on tells all)."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_creation: int | None = None

    def __bool__(self) -> bool:
        return bool(self.input or self.output or self.cache_read or self.cache_creation)


PriceTable = Mapping[str, Price]


class PricingError(ValueError):
    """A price file cannot be used; the message says why."""


def cost_usd(tokens: Tokens, price: Price) -> float:
    """Return what the tokens cost, cache tokens included."""
    return _PER_TOKEN * (
        (tokens.input or 0) * price.input
        + (tokens.output or 0) * price.output
        + (tokens.cache_read or 0) * price.cache_read
        + (tokens.cache_creation or 0) * price.cache_creation
    )


def parse_prices(models: Any) -> dict[str, Price]:
    """Return the usable entries of `{model: {input, output[, cache_read][, cache_creation]}}`.

    Entries without finite rates >= 0 are left out: an agent may have written them.
    """
    table = {}
    for name, entry in as_mapping(models).items():
        rates = as_mapping(entry)
        input_rate, output_rate = _rate(rates, "input"), _rate(rates, "output")
        if input_rate is None or output_rate is None:
            continue
        read, creation = _rate(rates, "cache_read"), _rate(rates, "cache_creation")
        table[str(name).strip().lower()] = Price(
            input_rate,
            output_rate,
            input_rate * _CACHE_READ_FACTOR if read is None else read,
            input_rate * _CACHE_CREATION_FACTOR if creation is None else creation,
        )
    return table


@cache
def built_in_prices() -> PriceTable:
    """Return the table that comes with the package."""
    text = (files("exporter") / "prices.toml").read_text("utf-8")
    return parse_prices(tomllib.loads(text)["models"])


def load_prices(path: Path) -> PriceTable:
    """Return the operator's own table, TOML or JSON with a `models` object; raises `PricingError`."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PricingError(f"{path}: {error.strerror}") from None
    try:
        whole = tomllib.loads(text.decode()) if path.suffix == ".toml" else parse_json(text)
    except (tomllib.TOMLDecodeError, TornJsonError, UnicodeDecodeError) as error:
        raise PricingError(f"{path}: {error}") from None
    models = as_mapping(as_mapping(whole).get("models"))
    table = parse_prices(models)
    unusable = sorted(set(map(str, models)) - {name for name in models if str(name).strip().lower() in table})
    if not table or unusable:
        what = f"no usable rates for {', '.join(unusable)}" if unusable else "no models in it"
        raise PricingError(f"{path}: {what}; each model needs input and output, in USD per million tokens")
    return table


def _rate(rates: Mapping[str, Any], name: str) -> float | None:
    rate = as_number(rates.get(name))
    return rate if rate is not None and rate >= 0 else None
