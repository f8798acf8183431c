from __future__ import annotations

import pathlib

import mutants

SOURCE = '''
class Thing:
    @property
    def one(self) -> int:
        """Return it."""
        return 1

    def two(self) -> int:
        return 2

    @property
    def three(self) -> int:
        return 3
'''


def test_a_property_that_is_plain_for_the_planting_works_as_before() -> None:
    """No decorator is left, which would keep bugs out of it."""
    changed = mutants.with_plain_properties(SOURCE)
    scope: dict[str, type] = {}
    exec(changed, scope)  # noqa: S102 - our own text
    thing = scope["Thing"]()

    assert "@" not in changed
    assert (thing.one, thing.two(), thing.three) == (1, 2, 3)


def test_what_no_test_ran_into_was_not_seen(tmp_path: pathlib.Path) -> None:
    """Nor was what nobody has tried, or ended in a way that is not known."""
    meta = tmp_path / "x.meta"
    meta.write_text('{"exit_code_by_key": {"a": 1, "b": 0, "c": 33, "d": -24, "e": null, "f": -9}}')

    assert mutants.outcomes(meta) == {
        "a": mutants.KILLED,
        "b": mutants.SURVIVED,
        "c": mutants.UNTESTED,
        "d": mutants.TIMED_OUT,
        "e": mutants.SURVIVED,
        "f": mutants.SURVIVED,
    }
