"""Replies are put together from whatever pieces arrive."""

from collections import deque

import pytest

from guestguard_dagster.senders.smtp.replies import Reply, ReplyReader

SAID = b"250-first\r\n250-second\r\n250 third\r\n354 go ahead\r\n421 4.3.2 bye\r\nwhat?\r\n250\r\n"
REPLIES = [
    Reply(250, "first\nsecond\nthird"),
    Reply(354, "go ahead"),
    Reply(421, "4.3.2 bye"),
    Reply(-1, "?"),
    Reply(250, ""),
]


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_replies_are_the_same_in_whatever_pieces_they_arrive(size: int) -> None:
    reader = ReplyReader()
    pieces = [SAID[start : start + size] for start in range(0, len(SAID), size)]
    assert [reply for piece in pieces for reply in reader.feed(piece)] == REPLIES


@pytest.mark.parametrize("endless", [b"250 " + b"a" * 1000, b"250-and so on\r\n" * 100])
def test_a_reply_without_an_end_does_not_fill_the_memory(endless: bytes) -> None:
    with pytest.raises(OSError, match="without an end"):
        deque(map(ReplyReader().feed, [endless] * 1000), maxlen=0)
