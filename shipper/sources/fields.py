"""Dotted paths into JSON objects: only what they name is decoded."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec

Path = tuple[str, ...]
MAX_DEPTH = 8


def path_of(text: str) -> Path:
    r"""Return the keys of `a.b`; a dot within a key is written `\.`. Raises `ValueError`."""
    keys = tuple(key.replace("\\.", ".") for key in re.split(r"(?<!\\)\.", text))
    if not all(keys):
        raise ValueError(f"not a field: {text!r}")
    if len(keys) > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels deep: {text!r}")
    return keys


def dotted(path: Path) -> str:
    """Return the text of a path."""
    return ".".join(key.replace(".", "\\.") for key in path)


class Fields:
    """A record type made for some paths, and how each path is read from a record."""

    def __init__(self, paths: Sequence[Path]) -> None:
        tree: dict[str, Any] = {}
        for path in paths:
            node = tree
            for key in path:
                node = node.setdefault(key, {})
        self._names: dict[str, str] = {}
        self._above = {path[0] for path in paths if len(path) > 1}
        self.type = self._struct(tree)
        self.decoder = msgspec.json.Decoder(self.type)
        self.empty = self.type()

    def _struct(self, tree: dict[str, Any]) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any, Any]] = []
        rename: dict[str, str] = {}
        for key, below in tree.items():
            name = self._names.setdefault(key, f"f{len(self._names)}")
            rename[name] = key
            kind = self._struct(below) | str | int | float | bool | list[Any] | None if below else Any
            fields.append((name, kind, None))
        return msgspec.defstruct("Record", fields, rename=rename, gc=False)

    def getter(self, path: Path) -> Callable[[object], object]:
        """Return what reads a path of a record."""
        attributes = tuple(self._names[key] for key in path)
        if len(path) == 1 and path[0] not in self._above:
            return attrgetter(*attributes)
        return partial(value_at, attributes)

    def row(self, paths: Sequence[Path]) -> Callable[[object], tuple[object, ...]]:
        """Return what reads several paths of a record at once."""
        getters = [self.getter(path) for path in paths]
        if len(paths) > 1 and all(isinstance(getter, attrgetter) for getter in getters):
            return attrgetter(*(self._names[path[0]] for path in paths))
        return lambda record: tuple(getter(record) for getter in getters)

    def record(self, found: dict[str, Any]) -> msgspec.Struct:
        """Return the record of an object that only the lenient parser could read."""
        try:
            return msgspec.convert(found, self.type)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return self.empty


def value_at(attributes: tuple[str, ...], record: object) -> object:
    """Return what a record has there: None where nothing, or where the way leads through no object."""
    for name in attributes:
        if not isinstance(record, msgspec.Struct):
            return None
        record = getattr(record, name)
    return None if isinstance(record, msgspec.Struct) else record
