"""A start knows whether what it pushes first can be a repeat."""

from __future__ import annotations

from collections.abc import Callable

from shipper_world import World

MakeWorld = Callable[..., World]


def ended(shop: World) -> None:
    """End in order, as SIGTERM does, as far as Loki lets it."""
    assert shop.engine is not None
    shop.engine.stop()
    shop.pump(30)
    shop.crash()


def test_the_very_first_start_repeats_nothing(world: MakeWorld) -> None:
    """No positions, nothing pushed."""
    assert world().start().repeats_nothing


def test_after_an_end_in_order_nothing_is_repeated(world: MakeWorld) -> None:
    """All was acknowledged, and the last save says so."""
    shop = world()
    shop.start()
    shop.write("a.jsonl", shop.line("x"))
    shop.settle()
    ended(shop)

    assert shop.start().repeats_nothing


def test_after_a_kill_there_may_be_repeats_even_where_the_run_before_ended_in_order(world: MakeWorld) -> None:
    """The first save of a run takes the word back, before its first push."""
    shop = world()
    shop.start()
    ended(shop)
    shop.start()
    shop.saver.problem = "no space left on device"
    shop.write("a.jsonl", shop.line("x"))
    shop.pump(20)
    assert shop.arrived() == []
    shop.saver.problem = ""
    shop.pump(20)
    assert len(shop.arrived()) == 1
    shop.crash()

    assert not shop.start().repeats_nothing


def test_a_known_file_is_not_pushed_before_the_word_is_taken_back(world: MakeWorld) -> None:
    """Nor is what was appended to a file that an earlier run settled."""
    shop = world()
    shop.start()
    shop.write("a.jsonl", shop.line("x"))
    shop.settle()
    ended(shop)
    shop.write("a.jsonl", shop.line("y"))

    shop.start()
    shop.saver.problem = "no space left on device"
    shop.pump(20)

    assert len(shop.arrived()) == 1


def test_an_end_with_lines_that_nobody_took_may_be_followed_by_repeats(world: MakeWorld) -> None:
    """Loki may hold them all the same."""
    shop = world()
    shop.start()
    shop.script = lambda _labels: "stored-reset"
    shop.write("a.jsonl", shop.line("x"))
    shop.pump(10)
    ended(shop)

    assert not shop.start().repeats_nothing


def test_positions_that_were_damaged_are_no_proof(world: MakeWorld) -> None:
    """What was lost with them is not known."""
    shop = world()
    shop.start()
    ended(shop)
    for path in shop.state.glob("positions*.json"):
        path.write_bytes(b"\0")

    assert not shop.start().repeats_nothing
