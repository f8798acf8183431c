from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.models import MAX_LABEL_CHARS, OTHER
from shipper.entries.streams import Registry


def test_one_label_set_is_one_stream() -> None:
    """Whatever the order of its names."""
    registry = Registry()

    assert registry.stream({"a": "1", "b": "2"}, 0) is registry.stream({"b": "2", "a": "1"}, 0)


@given(st.lists(st.dictionaries(st.sampled_from(["app", "project"]), st.text(max_size=300)), max_size=60))
def test_labels_stay_bounded_whatever_comes(label_sets: list[dict[str, str]]) -> None:
    """Length, values of a label, and streams: all have a cap, and what is above it is `other`."""
    registry = Registry(max_streams=5, max_values=4)

    for labels in label_sets:
        registry.stream(labels, 0)

    values = {
        name: {s.labels[name] for s in registry.streams if name in s.labels} for name in ("app", "project")
    }
    assert all(len(found - {OTHER}) <= 4 for found in values.values())
    assert all(v.encode() and len(v) <= MAX_LABEL_CHARS for found in values.values() for v in found)
    # One overflow stream for each value of `app`, which stays, and each set of label names.
    assert len(registry.streams) <= 5 + 2 * 5 + 2


def test_a_restart_knows_which_values_got_in_before_the_cap() -> None:
    """A repeat must find the same stream."""
    first = Registry(max_values=2)
    for project in ("a", "b", "c"):
        first.stream({"project": project}, 0)
    later = Registry(max_values=2)
    later.restore({k: list(v) for k, v in first.values.items()}, [s.labels for s in first.streams])

    for project, label in (("c", OTHER), ("a", "a"), ("d", OTHER)):
        found = later.stream({"project": project}, 9)
        assert (found.labels["project"], found.version) == (label, 0)


def test_backfill_and_restamped_streams_are_never_folded_into_others() -> None:
    """Their lines would be refused there, for ever."""
    registry = Registry(max_streams=1, max_values=1)
    registry.stream({"app": "x"}, 0)

    for hour in ("2026-11-21T05", "2026-11-21T06"):
        assert registry.stream({"app": "x", "backfill": hour}, 0).labels["backfill"] == hour
    assert registry.stream({"app": "x", "restamped": "true"}, 0).labels["restamped"] == "true"


def test_surrogates_in_a_label_become_the_replacement_character() -> None:
    """One of them would cost the whole push."""
    assert Registry().stream({"project": "a\ud800"}, 0).labels == {"project": "a\ufffd"}
