"""Random histories of four files that share streams: whatever is killed, parked or late shows once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from shipper_world import World

from shipper.sending.batch import Limits
from shipper.state import Options

Make = Callable[..., World]
NAMES = ("a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl")
AGES_S = (0.0, 0.0, 0.0, 0.0, 5.0, 600.0, 1500.0, 3000.0, 9000.0, -3000.0, -700.0, None)
MODES = ("ok", "ok", "stored-reset", "reset", "hang", "mix")


class History:
    """What is written and what goes wrong, drawn from a seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = world
        self.written: Counter[str] = Counter()
        self.mode = "ok"
        world.script = self.answer

    def answer(self, _labels: dict[str, str]) -> str | None:
        """Answer as the mode says; `mix`: each push differently."""
        mode = self.mode
        if mode == "mix":
            mode = self.chance.choice(["ok", "stored-reset", "stored-reset", "reset"])
        return None if mode == "ok" else mode

    def step(self) -> None:
        """Write something, let something happen, let some time pass."""
        chance, world = self.chance, self.world
        for _ in range(chance.randint(0, 4)):
            age_s = chance.choice(AGES_S)
            for _ in range(chance.randint(1, 10)):
                text = f"line {sum(self.written.values())}"
                line = text if age_s is None else world.line(text, ago_s=age_s)
                self.written[line] += 1
                world.write(chance.choice(NAMES), line)
        event = chance.random()
        if event < 0.25:
            world.crash()
            world.clock.elapsed_s += chance.choice([1, 100, 2000, 5000, 20_000])
            world.start()
        elif event < 0.5:
            self.mode = chance.choice(MODES)
        elif event < 0.6:
            world.clock.elapsed_s += chance.choice([100, 2000, 5000])
        world.pump(chance.choice([0.0, 0.3, 1.0, 6.0, 12.0, 60.0]))


@pytest.mark.parametrize("seed", range(40))
def test_every_line_shows_once_after_any_history(world: Make, seed: int) -> None:
    """Repeats come in time to be recognised, also those of lines with the time of reading."""
    entries, window = [(3, 20), (10, 60), (1000, 10_000)][seed % 3]
    shop = world(options=Options(Limits(entries=entries), window_entries=window))
    history = History(shop, seed)
    shop.start()
    for _ in range(10 + seed % 30):
        history.step()
    history.mode = "ok"
    shop.settle()

    assert Counter(shop.arrived()) == history.written
