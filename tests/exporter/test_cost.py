from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loki_world import Page, World

from exporter.files.jsonvalue import TornJsonError
from exporter.pricing import (
    Price,
    PricingError,
    Tokens,
    built_in_prices,
    cost_usd,
    load_prices,
    parse_prices,
)
from exporter.sources.loki_mode.cost import MAX_MODELS, add_up, parse_record, parse_result_cost

SONNET = {"model": "sonnet", "input_tokens": 1_000_000, "output_tokens": 100_000}
SONNET_USD = 3.00 + 1.50


def record(world: World, number: int, **fields: Any) -> None:
    """Write an efficiency record."""
    world.write(f"metrics/efficiency/iteration-{number}.json", {"iteration": number, **fields})


def unpriced(page: Page) -> float | None:
    """Return the number of unpriced records."""
    return page.value("tallyship_exporter_records_unpriced", source="loki-mode")


def unmeasured(page: Page) -> float | None:
    """Return the number of unmeasured records."""
    return page.value("tallyship_exporter_records_unmeasured", source="loki-mode")


class TestOneRecord:
    """What one record costs."""

    @pytest.mark.parametrize(
        ("cost", "expected"),
        [
            (1.25, 1.25),
            ("0.75", 0.75),
            (2, 2),
            ("1e-3", 0.001),
            (0, SONNET_USD),
            (-1, SONNET_USD),
            ("free", SONNET_USD),
            (None, SONNET_USD),
            (True, SONNET_USD),
            ([1], SONNET_USD),
            (float("nan"), SONNET_USD),
            (float("inf"), SONNET_USD),
            ("NaN", SONNET_USD),
            ("-Infinity", SONNET_USD),
            (1e308, SONNET_USD),
            (10**400, SONNET_USD),
        ],
    )
    def test_is_its_own_cost_if_that_can_be_believed(
        self, world: World, cost: object, expected: float
    ) -> None:
        """A finite positive number, or a numeric string; else the tokens are priced."""
        record(world, 1, **SONNET, cost_usd=cost)

        assert world.page().value("loki_cost_usd") == expected

    def test_is_the_providers_total_before_the_price_of_the_tokens(self, world: World) -> None:
        """metrics/result-cost-N.json has what the provider billed for iteration N."""
        record(world, 1, **SONNET, cost_usd=0)
        record(world, 2, cost_usd=0)
        world.write("metrics/result-cost-1.json", {"total_cost_usd": 7.5})
        world.write("metrics/result-cost-2.json", {"total_cost_usd": "0.5"})
        world.write("metrics/result-cost-3.json", {"total_cost_usd": 100})

        assert world.page().value("loki_cost_usd") == 8.0

    @pytest.mark.parametrize("text", ["{}", '{"total_cost_usd": 0}', "[]", '{"total_cost_usd": "NaN"}'])
    def test_needs_no_providers_total(self, world: World, text: str) -> None:
        """A provider's file that tells no total is as good as none."""
        record(world, 1, **SONNET, cost_usd=0)
        world.write("metrics/result-cost-1.json", text)
        page = world.page()

        assert page.value("loki_cost_usd") == SONNET_USD
        assert page.errors == {}

    def test_has_the_cache_tokens_in_it(self, world: World) -> None:
        """Cache reading is a tenth, cache writing one and a quarter of the input price."""
        record(world, 1, **SONNET, cache_read_tokens=1_000_000, cache_creation_tokens=1_000_000)

        assert world.page().value("loki_cost_usd") == pytest.approx(SONNET_USD + 0.30 + 3.75)

    def test_of_all_zeros_is_unmeasured_not_free(self, world: World) -> None:
        """The cost is absent, not 0, and the record is counted."""
        record(world, 1, model="sonnet", input_tokens=0, output_tokens=0, cost_usd=0)
        page = world.page()

        assert page.value("loki_cost_usd") is None
        assert (unmeasured(page), unpriced(page)) == (1, 0)

    def test_of_an_unknown_model_is_not_priced_as_another(self, world: World) -> None:
        """A model without a price costs nothing that we know; its record is counted, its tokens too."""
        record(world, 1, **{**SONNET, "model": "claude-opus-9-20270101"})
        record(world, 2, cost_usd=1.0)
        page = world.page()

        assert page.value("loki_cost_usd") == 1.0
        assert (unmeasured(page), unpriced(page)) == (0, 1)
        assert page.value("loki_mode_tokens", model="claude-opus-9-20270101", kind="input") == 1_000_000

    def test_without_a_model_is_unpriced(self, world: World) -> None:
        """No model, no price: not sonnet's."""
        record(world, 1, **{**SONNET, "model": None})

        assert unpriced(world.page()) == 1

    def test_names_its_model_in_any_case(self, world: World) -> None:
        """The lookup is by the lower-cased name."""
        record(world, 1, **{**SONNET, "model": " Sonnet "})

        assert world.page().value("loki_cost_usd") == SONNET_USD

    @pytest.mark.parametrize("text", [b"", b"[]", b"null", b"3", b'{"model": "so', b"\xff\xfe"])
    def test_is_torn_when_it_is_no_object(self, text: bytes) -> None:
        """Cut short or no object at all: torn, and the others are still summed."""
        with pytest.raises(TornJsonError):
            parse_record(text)


class TestPrices:
    """Built-in table < project's pricing.json < --pricing."""

    def test_of_the_project_override_the_built_in_ones(self, world: World) -> None:
        """pricing.json may change a price and add a model; a bad entry leaves the built-in one."""
        world.write(
            "pricing.json",
            {"models": {"sonnet": {"input": 1, "output": 10}, "mine": {"input": 2, "output": 0}, "haiku": 3}},
        )
        record(world, 1, **SONNET)
        record(world, 2, model="mine", input_tokens=500_000)
        record(world, 3, model="haiku", input_tokens=1_000_000)

        assert world.page().value("loki_cost_usd") == pytest.approx(2.0 + 1.0 + 1.0)

    def test_of_the_operator_override_all(self, tmp_path: Path) -> None:
        """What is given on the command line goes before what an agent can write."""
        world = World(tmp_path / ".loki", prices={"sonnet": Price(100, 0, 0, 0)})
        world.write("pricing.json", {"models": {"sonnet": {"input": 1, "output": 10}}})
        record(world, 1, **SONNET)

        assert world.page().value("loki_cost_usd") == 100
        world.close()

    def test_that_change_are_applied_to_old_records(self, world: World) -> None:
        """A new pricing.json prices the same records anew, also after it is gone."""
        record(world, 1, **SONNET)
        seen = [world.page().value("loki_cost_usd")]
        for price in (1, 2):
            world.advance(15)
            world.write("pricing.json", {"models": {"sonnet": {"input": price, "output": 0}}})
            seen.append(world.page().value("loki_cost_usd"))
        world.remove("pricing.json")
        seen.append(world.page().value("loki_cost_usd"))

        assert seen == [SONNET_USD, 1, 2, SONNET_USD]

    def test_that_are_zero_are_prices(self, world: World) -> None:
        """A local model that is priced at 0 is free, which is known, unlike an unmeasured one."""
        world.write("pricing.json", {"models": {"local": {"input": 0, "output": 0}}})
        record(world, 1, model="local", input_tokens=5)

        assert world.page().value("loki_cost_usd") == 0

    def test_that_are_absurd_cost_only_their_record(self, world: World) -> None:
        """Prices of 1e300 or 1e308 an agent wrote: no overflow, no infinity, the other records stand."""
        for rate in (1e300, 1e308):
            world.write("pricing.json", {"models": {"m": {"input": rate, "output": rate}}})
            for number in range(2, 6):
                record(world, number, model="m", input_tokens=10**14, cache_creation_tokens=0)
            record(world, 1, cost_usd=2.5)
            page = world.page()
            world.advance(15)

            assert page.value("loki_cost_usd") == 2.5
            assert page.value("tallyship_exporter_source_up", source="loki-mode") == 1
            assert unpriced(page) == 4

    def test_built_in_are_upstreams(self) -> None:
        """The table that upstream prices with, spot-checked."""
        table = built_in_prices()

        assert table["opus"] == Price(5.0, 25.0, 0.5, 6.25)
        assert table["gpt-5.3-codex"].output == 12.0
        assert cost_usd(Tokens(1000, 500), table["haiku"]) == pytest.approx(0.0035)

    @pytest.mark.parametrize(
        "entry", [{}, {"input": 1}, {"input": -1, "output": 1}, {"input": "x", "output": 1}, [], None, 5]
    )
    def test_of_an_unusable_entry_are_left_out(self, entry: object) -> None:
        """Finite rates >= 0 or nothing."""
        assert parse_prices({"m": entry}) == {}

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("p.toml", '[models]\n"M" = { input = 1, output = 2 }\n'),
            ("p.json", '{"models": {"M": {"input": 1, "output": "2"}}}'),
        ],
    )
    def test_are_read_from_toml_and_json(self, tmp_path: Path, name: str, text: str) -> None:
        """Both forms of the operator's file."""
        file = tmp_path / name
        file.write_text(text, "utf-8")

        assert load_prices(file) == {"m": Price(1, 2, 0.1, 1.25)}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "no models in it"),
            ("[models]\n", "no models in it"),
            ('[models]\n"a" = { input = 1 }\n', "no usable rates for a"),
            ("[models", "Expected"),
        ],
    )
    def test_of_the_operator_must_be_usable(self, tmp_path: Path, text: str, reason: str) -> None:
        """A mistake in the operator's own file is said, not passed over as an agent's is."""
        file = tmp_path / "prices.toml"
        file.write_text(text, "utf-8")
        with pytest.raises(PricingError, match=reason):
            load_prices(file)
        with pytest.raises(PricingError, match="No such file"):
            load_prices(tmp_path / "none.toml")


class TestSums:
    """Sums over all records."""

    def test_by_model_add_up_to_the_total(self, world: World) -> None:
        """Costs and tokens by model; kinds that no record of a model tells are absent."""
        record(world, 1, **SONNET, cost_usd=1.5)
        record(world, 2, **SONNET, cost_usd=2.5)
        record(world, 3, model="opus", cost_usd=0.25, cache_read_tokens=9)
        page = world.page()

        assert page.value("loki_cost_usd") == 4.25
        assert page.of("loki_mode_model_cost_usd") == {'{model="opus"}': 0.25, '{model="sonnet"}': 4.0}
        assert page.of("loki_mode_tokens") == {
            '{kind="cache_read",model="opus"}': 9,
            '{kind="input",model="sonnet"}': 2_000_000,
            '{kind="output",model="sonnet"}': 200_000,
        }

    def test_have_a_bounded_number_of_models(self, world: World) -> None:
        """5,000 invented models make 20 labels and `other`, and the sums lose nothing."""
        text = [{"model": f"m{n:04}", "input_tokens": 1, "cost_usd": 0.5} for n in range(5_000)]
        for number in range(0, 5_000, 25):
            record(world, number, **text[number])
        page = world.page()
        every = add_up({str(n): parse_record(json.dumps(t).encode()) for n, t in enumerate(text)}, {}, {})
        costs, tokens = page.of("loki_mode_model_cost_usd"), page.of("loki_mode_tokens")

        assert len(costs) == len(tokens) == MAX_MODELS + 1
        assert page.value("loki_mode_model_cost_usd", model="other") == (200 - MAX_MODELS) * 0.5
        assert page.value("loki_cost_usd") == sum(costs.values()) == 100
        assert sum(tokens.values()) == 200
        assert every.by_model_usd["other"] == (5_000 - MAX_MODELS) * 0.5
        assert every.total_usd == sum(every.by_model_usd.values()) == 2_500

    def test_keep_a_record_that_is_rewritten(self, world: World) -> None:
        """A record truncated for a moment keeps its last good value for 60 s and is one error."""
        record(world, 1, cost_usd=1)
        record(world, 2, cost_usd=2)
        world.page()
        world.advance(15)
        world.write("metrics/efficiency/iteration-2.json", b"")
        held = world.page()
        world.advance(61)
        gone = world.page()

        assert (held.value("loki_cost_usd"), gone.value("loki_cost_usd")) == (3, 1)
        assert gone.errors == {"torn": 1}

    def test_follow_records_that_come_and_go(self, world: World) -> None:
        """A new session deletes the records of the last one; the cost is of those that are there."""
        record(world, 1, cost_usd=1)
        assert world.page().value("loki_cost_usd") == 1
        record(world, 2, cost_usd=2)
        assert world.page().value("loki_cost_usd") == 3
        world.remove("metrics/efficiency/iteration-1.json")
        assert world.page().value("loki_cost_usd") == 2
        world.remove("metrics/efficiency")
        assert world.page().value("loki_cost_usd") is None

    def test_of_half_the_records_are_not_told(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """While there was no time to read all of them, the last sum stands for 60 s, and is then absent."""
        record(world, 1, cost_usd=1)
        before = world.page().value("loki_cost_usd")
        for number in range(2, 6):
            record(world, number, cost_usd=1)
        with monkeypatch.context() as patch:
            patch.setattr("exporter.files.record_folder.READ_BUDGET_S", -1.0)
            seen = []
            for _ in range(3):
                world.advance(25)
                seen.append(world.page().value("loki_cost_usd"))

        assert [before, *seen] == [1, 1, 1, None]
        assert world.page().value("loki_cost_usd") == 5

    def test_pass_over_what_is_no_record(self, world: World) -> None:
        """Only *.json in the folder counts."""
        record(world, 1, cost_usd=1)
        world.write("metrics/efficiency/iteration-1.json.tmp", {"cost_usd": 5})
        world.write("metrics/efficiency/README", "no record")

        assert world.page().value("loki_cost_usd") == 1
        assert world.page().errors == {}

    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from(["iteration", "model", "cost_usd", "input_tokens", "cache_read_tokens"]),
                st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6) | st.just([]),
            ),
            max_size=6,
        )
    )
    def test_of_anything_are_finite_or_absent(self, values: list[dict[str, Any]]) -> None:
        """Whatever records hold, the total is finite and >= 0 or absent, and each record is accounted for."""
        records = {f"iteration-{n}.json": parse_record(json.dumps(v).encode()) for n, v in enumerate(values)}
        costs = add_up(records, {}, built_in_prices())

        assert costs.total_usd is None or (math.isfinite(costs.total_usd) and costs.total_usd >= 0)
        assert 0 <= costs.unpriced + costs.unmeasured <= len(records)
        assert (costs.total_usd is None) == (costs.unpriced + costs.unmeasured == len(records))


def test_result_cost_is_one_number() -> None:
    """The provider's own total, None where it has none to tell."""
    assert parse_result_cost(b'{"total_cost_usd": "1.5"}') == 1.5
    assert parse_result_cost(b'{"total_cost_usd": 0}') is None
    assert parse_result_cost(b"[]") is None
    with pytest.raises(TornJsonError):
        parse_result_cost(b'{"total')
