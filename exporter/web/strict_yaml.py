"""YAML as plain values, refusing what PyYAML would pass over: a key given twice. Imported on demand."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


class NotYaml(ValueError):  # noqa: N818 (the outcome of a parse)
    """The text is no YAML; the message says what and where, and quotes nothing, as the text holds secrets."""


def load(text: str) -> Any:
    """Return the document as dicts, lists, strings and numbers, None if it is empty; raises `NotYaml`."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader with one more check)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise NotYaml(f"{error.problem or error.context or 'not YAML'}{where}") from None
    except yaml.reader.ReaderError as error:
        raise NotYaml(f"{error.reason} at character {error.position + 1}") from None
    except RecursionError:
        raise NotYaml("nested too deeply") from None
    except ValueError:  # PyYAML makes dates of what looks like one
        raise NotYaml("a value looks like a date or a number and is none; put it in quotes") from None


class _StrictLoader(yaml.SafeLoader):
    pass


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    loader.flatten_mapping(node)
    found: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, "a key that stands twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
