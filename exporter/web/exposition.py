"""From registry to bytes: which format a client gets, which families it asked for, compressed or not."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest as encode_text
from prometheus_client.openmetrics.exposition import ALLOWUTF8, UNDERSCORES
from prometheus_client.openmetrics.exposition import generate_latest as encode_openmetrics
from prometheus_client.samples import Sample

GZIP_LEVEL = 1  # a page repeats itself: level 9 takes 6 times as long and saves 1 part in 8
_END_MARK = b"# EOF\n"
_GZIP_WBITS = 31  # zlib's way of asking for a gzip header


class Format(Enum):
    """The two formats, by content type. Prometheus reads both in every version since 2.5."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Registry(Protocol):
    """What is exported: a prometheus_client `CollectorRegistry`, or anything else that collects."""

    def collect(self) -> Iterable[Metric]:
        """Return the families as they are now; may block, and runs outside the event loop."""


@dataclass(frozen=True)
class Wanted:
    """What one request asks for; equal requests that overlap in time share one rendering."""

    form: Format = Format.TEXT
    utf8_names: bool = False
    gzip: bool = False
    names: frozenset[str] = frozenset()

    @property
    def content_type(self) -> str:
        """The answer's content type, naming the escaping if the client had asked for one."""
        return self.form.value + ("; escaping=allow-utf-8" if self.utf8_names else "")


def wanted(accept: str, accept_encoding: str, names: Iterable[str]) -> Wanted:
    """Return what the request's `Accept`, `Accept-Encoding` and `name[]` parameters ask for."""
    form, utf8_names = negotiate(accept)
    return Wanted(form, utf8_names, accepts_gzip(accept_encoding), frozenset(names))


def negotiate(accept: str) -> tuple[Format, bool]:
    """Return the format for an `Accept` header, and whether UTF-8 names were asked for.

    The highest `q` wins, the earlier of two equals. Prometheus 3 lists (protobuf,) OpenMetrics 1.0.0, text
    1.0.0 and text 0.0.4 in this order; it gets OpenMetrics, because protobuf is nothing we speak. Text 1.0.0
    differs from 0.0.4 only in names that need quotes, and ours never do, so whoever asks for it gets 0.0.4. A
    client that accepts neither gets text all the same: a 406 would help nobody.
    """
    best, best_q, utf8_names = Format.TEXT, 0.0, False
    for media_type, parameters, q in _media_ranges(accept):
        form = _format_of(media_type, parameters.get("version", ""))
        if form is not None and q > best_q:
            best, best_q = form, q
            utf8_names = form is Format.OPENMETRICS and parameters.get("escaping") == ALLOWUTF8
    return best, utf8_names


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether the header names gzip (or any coding) with a `q` above 0."""
    codings = {name: q for name, _, q in _media_ranges(accept_encoding)}
    return codings.get("gzip", codings.get("*", 0.0)) > 0


class EncodedFamilies:
    """Families as they were encoded for the last page: most are the same on the next one.

    To compare a family takes a hundredth of encoding it. Bounded by the families that a program has, times
    the formats. Not thread-safe.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Format, bool, str], tuple[tuple[str, str, str, list[Sample]], bytes]] = {}

    def encoded(self, family: Metric, want: Wanted) -> bytes:
        """Return the family's lines, without the end mark of OpenMetrics."""
        key = (want.form, want.utf8_names, family.name)
        known = self._known.get(key)
        if known is not None and known[0] == (family.type, family.documentation, family.unit, family.samples):
            return known[1]
        lines = _encode(family, want)
        # A copy, because a collector may go on with the same object.
        content = (family.type, family.documentation, family.unit, family.samples.copy())
        self._known[key] = (content, lines)
        return lines


def render(registry: Registry, want: Wanted, known: EncodedFamilies | None = None) -> bytes:
    """Return the page, helped by what is `known` from the last one. Blocks while the registry collects.

    Raises whatever a collector raises, and `ValueError` for a family that the format cannot express: both are
    programming errors, and the caller is the boundary.
    """
    if want.names or known is None:  # a part of a family must not pass for the whole the next time
        known = EncodedFamilies()
    families = _Chosen(registry, want.names).collect() if want.names else registry.collect()
    page = b"".join([known.encoded(family, want) for family in families])
    if want.form is Format.OPENMETRICS:
        page += _END_MARK
    return zlib.compress(page, GZIP_LEVEL, _GZIP_WBITS) if want.gzip else page


def _encode(family: Metric, want: Wanted) -> bytes:
    if want.form is Format.TEXT:
        return encode_text(_Single(family))
    escaping = ALLOWUTF8 if want.utf8_names else UNDERSCORES
    text: bytes = encode_openmetrics(_Single(family), escaping=escaping)  # type: ignore[no-untyped-call]
    return text.removesuffix(_END_MARK)


class _Single:
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


class _Chosen:
    """The part of a registry that `name[]` asks for, by sample name or by family name.

    `CollectorRegistry.restricted_registry` goes by what collectors describe in advance, and ours describe
    nothing, because what they export depends on the files they find.
    """

    def __init__(self, registry: Registry, names: frozenset[str]) -> None:
        self._registry = registry
        self._names = names

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            if family.name in self._names:
                yield family
                continue
            samples = [sample for sample in family.samples if sample.name in self._names]
            if samples:
                part = Metric(family.name, family.documentation, family.type, family.unit)
                part.samples = samples
                yield part


def _format_of(media_type: str, version: str) -> Format | None:
    if media_type == "application/openmetrics-text" and version in {"", "1.0.0"}:
        return Format.OPENMETRICS
    if media_type == "text/plain" and version in {"", "0.0.4", "1.0.0"}:
        return Format.TEXT
    if media_type in {"text/*", "*/*"}:
        return Format.TEXT
    return None


def _media_ranges(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield `(name, parameters, q)` per element, names and parameter names in lower case."""
    for element in header.split(","):
        name, *rest = element.split(";")
        pairs = (item.partition("=") for item in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        yield name.strip().lower(), parameters, _quality(parameters.get("q", "1"))


def _quality(text: str) -> float:
    """Return a `q` value; what is none counts as 0, as if the element were not there."""
    try:
        q = float(text)
    except ValueError:
        return 0.0
    return q if 0.0 <= q <= 1.0 else 0.0
