from __future__ import annotations

import pytest

from shipper.push.acknowledged import is_acknowledged

LOKIS = b"HTTP/1.1 204 No Content\r\nDate: Sat, 21 Nov 2026 17:53:20 GMT\r\n\r\n"
NGINX = (
    b"HTTP/1.1 204 No Content\r\nServer: nginx/1.27.1\r\nDate: Sat, 21 Nov 2026 17:53:20 GMT\r\n"
    b"Connection: keep-alive\r\nX-Served-By: caf\xe9\r\n\r\n"
)


@pytest.mark.parametrize(
    "answer",
    [
        LOKIS,
        NGINX,
        b"HTTP/1.1 204\r\n\r\n",
        b"HTTP/1.1 204 \r\n\r\n",
        b"HTTP/1.1 204 x\r\nContent-Length: 0\r\nkeep-alive:timeout=5\r\nCONNECTION:Keep-Alive\r\n\r\n",
    ],
)
def test_a_whole_204_is_an_acknowledgement(answer: bytes) -> None:
    """As Loki says it, and as what stands before it does."""
    assert is_acknowledged(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 2041 x\r\n\r\n",
        b"HTTP/1.0 204 No Content\r\n\r\n",
        b"http/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 204 No Content\n\n",
        b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 204 x\r\nConnection: keep-alive, close\r\n\r\n",
        b"HTTP/1.1 204 x\r\nA: b\r\nCONNECTION:close\r\n\r\n",
        b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 204 x\r\nContent-Length: 05\r\n\r\n",
        b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 x\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 204 x\r\n folded\r\n\r\n",
        b"HTTP/1.1 204 x\r\nno field\r\n\r\n",
        b"HTTP/1.1 204 x\r\nA: b\0c\r\n\r\n",
    ],
)
def test_anything_else_is_read_by_somebody_slower(answer: bytes) -> None:
    """Other answers, connections that end, and what is odd."""
    assert not is_acknowledged(answer)


@pytest.mark.parametrize("answer", [LOKIS, NGINX])
def test_a_part_of_an_acknowledgement_is_none_and_neither_is_more_than_one(answer: bytes) -> None:
    """It may come in pieces; and bytes behind it belong to no answer."""
    assert not any(is_acknowledged(answer[:end]) for end in range(len(answer)))
    assert not is_acknowledged(answer + b"x")
    assert not is_acknowledged(answer + answer)
