"""Whether what came is exactly one plain acknowledgement. Pure."""

from __future__ import annotations

import re

_PLAIN = re.compile(
    rb"HTTP/1\.1 204(?: [\t\x20-\x7e\x80-\xff]*)?\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*"
    rb"\r\n"
)
_MEANS_MORE = re.compile(
    rb"\n(?:connection:(?! *keep-alive *\r)|transfer-|upgrade:|content-length:(?! *0 *\r))", re.IGNORECASE
)


def is_acknowledged(answer: bytes) -> bool:
    """Tell whether this is a whole 204 of HTTP/1.1 with nothing behind it, on a connection that goes on.

    False for what may be one all the same: somebody else reads that, slowly and with care.
    """
    return _PLAIN.fullmatch(answer) is not None and _MEANS_MORE.search(answer) is None
