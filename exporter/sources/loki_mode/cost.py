"""Adds up what a project's iterations cost and used: pure.

Each record of `metrics/efficiency/` is one iteration. Its cost is, in this order: its own `cost_usd`; the
provider's total in `metrics/result-cost-N.json` (v7.28 on); its tokens at the table's price. A record of all
zeros was not measured, which is not the same as free; a model without a price is counted, not guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

from exporter.files.jsonvalue import TornJsonError, as_count, as_mapping, as_number, as_text, parse_json
from exporter.pricing import PriceTable, Tokens, cost_usd
from shared.models import OTHER, label_value

MAX_MODELS = 20
UNKNOWN_MODEL = "unknown"
_DECIMALS = 9
"""Sums are rounded to nano-dollars: what lies below is the noise of binary fractions."""

_MAX_USD = 1e15

TOKEN_KINDS = ("input", "output", "cache_read", "cache_creation")


@dataclass(frozen=True, slots=True)
class Record:
    """One efficiency record; `cost_usd` only when it is finite and positive, i.e. measured."""

    iteration: int | None
    model: str
    cost_usd: float | None
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Costs:
    """What the records come to; `total_usd` is None when no record was measured.

    `tokens[model][kind]` has only kinds that some record of the model tells.
    """

    total_usd: float | None
    by_model_usd: Mapping[str, float]
    tokens: Mapping[str, Mapping[str, int]]
    unpriced: int
    unmeasured: int


UNKNOWN_COSTS = Costs(None, {}, {}, 0, 0)


def parse_record(text: bytes) -> Record:
    """Return the record; raises `TornJsonError` when the text is no JSON object."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise TornJsonError("no object")
    return Record(
        iteration=as_count(value.get("iteration")),
        model=as_text(value.get("model")) or UNKNOWN_MODEL,
        cost_usd=_measured(value.get("cost_usd")),
        tokens=_tokens(value),
    )


def parse_result_cost(text: bytes) -> float | None:
    """Return the provider's total in USD, None when it has none; raises `TornJsonError` when torn."""
    return _measured(as_mapping(parse_json(text)).get("total_cost_usd"))


def add_up(records: Mapping[str, Record], results: Mapping[str, float | None], prices: PriceTable) -> Costs:
    """Return the sum over records by file name, with the providers' totals by file name."""
    known: list[tuple[str, float]] = []
    unpriced = unmeasured = 0
    models = _bounded(record.model for record in records.values())
    for name, record in records.items():
        cost = record.cost_usd or results.get(_result_name(name, record))
        if cost is None and record.tokens:
            cost = _priced(record, prices)
            if cost is None:
                unpriced += 1
                continue
        if cost is None:
            unmeasured += 1
            continue
        known.append((models[record.model], cost))
    return Costs(
        total_usd=_sum(cost for _, cost in known) if known else None,
        by_model_usd={m: _sum(c for model, c in known if model == m) for m in sorted({m for m, _ in known})},
        tokens=_token_sums(records.values(), models),
        unpriced=unpriced,
        unmeasured=unmeasured,
    )


def _priced(record: Record, prices: PriceTable) -> float | None:
    """Return what the record's tokens cost; None without a price, or with one too absurd to sum up."""
    price = prices.get(record.model.strip().lower())
    if price is None:
        return None
    cost = cost_usd(record.tokens, price)
    return cost if 0 <= cost < _MAX_USD else None


def _measured(value: Any) -> float | None:
    """Return an amount in USD that can be believed: finite, positive, and summable."""
    cost = as_number(value)
    return cost if cost is not None and 0 < cost < _MAX_USD else None


def _result_name(name: str, record: Record) -> str:
    number = record.iteration
    suffix = name.removeprefix("iteration-").removesuffix(".json") if number is None else str(number)
    return f"result-cost-{suffix}.json"


def _tokens(value: Mapping[str, Any]) -> Tokens:
    return Tokens(*(as_count(value.get(f"{kind}_tokens")) for kind in TOKEN_KINDS))


def _bounded(models: Iterable[str]) -> dict[str, str]:
    """Map each model to its label: at most `MAX_MODELS` of them, the alphabetically later ones overflow."""
    labels = {model: label_value(model) for model in set(models)}
    kept = set(sorted(set(labels.values()))[:MAX_MODELS])
    return {model: label if label in kept else OTHER for model, label in labels.items()}


def _token_sums(records: Iterable[Record], models: Mapping[str, str]) -> dict[str, dict[str, int]]:
    sums: dict[str, dict[str, int]] = {}
    for record in records:
        for kind in TOKEN_KINDS:
            count = getattr(record.tokens, kind)
            if count is not None and record.tokens:
                of_model = sums.setdefault(models[record.model], {})
                of_model[kind] = of_model.get(kind, 0) + count
    return sums


def _sum(costs: Iterable[float]) -> float:
    return round(fsum(costs), _DECIMALS)
