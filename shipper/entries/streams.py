"""Label sets, and what bounds them: the values of each label and the number of streams. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping

from shared.models import OTHER, label_value

MAX_STREAMS = 1000
MAX_BACKFILL_STREAMS = 1000
"""One for each hour of a stream in which something was too far behind."""
MAX_VALUES_PER_LABEL = 200
_UNCAPPED = frozenset({"backfill", "restamped"})


class Stream:
    """A label set that Loki keeps as one stream. Compared by identity: the registry makes each one once."""

    __slots__ = ("index", "labels", "version")

    def __init__(self, labels: dict[str, str], index: int, version: int) -> None:
        self.labels = labels
        self.index = index
        self.version = version
        """The save that must be durable before anything is pushed to it."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(self.labels.items())) + "}"


class Registry:
    """Makes streams from labels; bounds the values of each label and the number of streams.

    Which values got in before the cap is part of the positions: a repeat must find the same stream.
    """

    def __init__(
        self,
        caps: Mapping[str, int] | None = None,
        *,
        max_streams: int = MAX_STREAMS,
        max_values: int = MAX_VALUES_PER_LABEL,
    ) -> None:
        """`caps`: for some labels, how many values they may have."""
        self._caps = caps or {}
        self._max_streams = max_streams
        self._max_values = max_values
        self.values: dict[str, set[str]] = {}
        self.streams: list[Stream] = []
        self._by_labels: dict[tuple[tuple[str, str], ...], Stream] = {}
        self._free: list[int] = []
        """Indexes of streams that nobody needs any more."""
        self._own = 0
        self._backfills = 0
        self.max_backfill_streams = MAX_BACKFILL_STREAMS
        self.overflows = 0
        """How often a value or a stream became `other`."""

    def recap(self, caps: Mapping[str, int]) -> None:
        """Take other caps; values that are known stay known."""
        self._caps = caps

    def restore(
        self,
        values: dict[str, list[str]],
        streams: list[dict[str, str]],
        used: Container[int] | None = None,
    ) -> None:
        """Take over what an earlier run knew.

        Of `backfill` streams only those of which lines are unsettled, where `used` tells their indexes: their
        hours do not come again. The others keep their places, since the positions name streams by them.
        """
        self.values = {name: set(known) for name, known in values.items()}
        for index, labels in enumerate(streams):
            if labels and (used is None or index in used or "backfill" not in labels):
                self._new(labels, 0)
            else:
                self.streams.append(Stream({}, index, 0))
                self._free.append(index)

    def admits_backfill(self, labels: dict[str, str]) -> bool:
        """Tell whether the `backfill` stream of these labels is known or may be made."""
        known = tuple(sorted(labels.items())) in self._by_labels
        return known or self._backfills < self.max_backfill_streams

    def stream(self, labels: dict[str, str], version: int) -> Stream:
        """Return the stream of these labels, capped; a new one must be durable with save `version`."""
        found = self._by_labels.get(tuple(sorted(labels.items())))
        if found is not None:
            return found
        capped = {name: self._capped(name, value) for name, value in labels.items()}
        found = self._by_labels.get(tuple(sorted(capped.items())))
        if found is not None:
            return found
        if self._own >= self._max_streams and not _UNCAPPED & capped.keys():
            self.overflows += 1
            capped = {
                name: value if name in ("app", "environment") else OTHER for name, value in capped.items()
            }
            found = self._by_labels.get(tuple(sorted(capped.items())))
            if found is not None:
                return found
        return self._new(capped, version)

    def _capped(self, name: str, value: str) -> str:
        if name in _UNCAPPED:
            return value
        value = label_value(value) or OTHER
        known = self.values.setdefault(name, set())
        if value in known:
            return value
        if len(known) >= self._caps.get(name, self._max_values):
            self.overflows += 1
            return OTHER
        known.add(value)
        return value

    def _new(self, labels: dict[str, str], version: int) -> Stream:
        if self._free and version:
            stream = Stream(labels, self._free.pop(), version)
            self.streams[stream.index] = stream
        else:
            stream = Stream(labels, len(self.streams), version)
            self.streams.append(stream)
        self._own += not _UNCAPPED & labels.keys()
        self._backfills += "backfill" in labels
        self._by_labels[tuple(sorted(labels.items()))] = stream
        return stream
