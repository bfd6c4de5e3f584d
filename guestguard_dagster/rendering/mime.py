"""Raw mail: a MIME skeleton that is built once per message and filled per recipient by joining bytes.

Filling costs a hundredth of what `EmailMessage` does, so header encoding is written out here. The result is pure ASCII
with CRLF line ends and no line beyond 998 octets. Dot-stuffing is SMTP's business.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache

from guestguard_dagster.domain.plain_text import SUBJECT_LIMIT, clean_value
from guestguard_dagster.rendering.addresses import ascii_address, utf8_address
from guestguard_dagster.rendering.filled import Filled, interleaved

DISPLAY_NAME_LIMIT = 100

# "=_" occurs neither in quoted-printable nor in base64, so no part can contain a boundary.
_ALTERNATIVE_BOUNDARY = b"=_guestguard_alternative"
_MIXED_BOUNDARY = b"=_guestguard_mixed"

# Longer ASCII is written as encoded words, which can be folded anywhere.
_LONGEST_PLAIN_SUBJECT = 68
_LONGEST_QUOTED_NAME = 60
# With the header's name and the frame of an encoded word, 39 octets stay within a line of 76.
_ENCODED_WORD_OCTETS = 39

# HTML reads the numbers of these control characters as others: &#128; is a euro sign.
_C1 = re.compile("[\x80-\x9f]")

_LONGEST_LINE = 998
_LINES_KEPT = 4096
_LITERALS_KEPT = 64

# (file name, content type such as "text/calendar; method=REQUEST", content)
MimeAttachment = tuple[str, str, bytes]


@dataclass(frozen=True, slots=True)
class MimeSkeleton:
    """Everything of a mail that is the same for all recipients of a message. Build it with `build`."""

    _head: bytes
    _before_text: bytes
    _tail: bytes

    @classmethod
    def build(
        cls,
        *,
        from_name: str,
        from_email: str,
        reply_to: str | None = None,
        attachments: Iterable[MimeAttachment] = (),
    ) -> "MimeSkeleton":
        """Raises AddressInvalid for `from_email` or `reply_to`."""
        head = b"From: " + _mailbox(from_name, ascii_address(from_email)) + b"\r\n"
        if reply_to is not None:
            head += b"Reply-To: " + ascii_address(reply_to).encode("ascii") + b"\r\n"
        head += b"MIME-Version: 1.0\r\n"

        alternative = _content_type(b"multipart/alternative", _ALTERNATIVE_BOUNDARY)
        tail = _last(_ALTERNATIVE_BOUNDARY)
        attached = [_attachment_part(*attachment) for attachment in attachments]
        if attached:
            alternative = _content_type(b"multipart/mixed", _MIXED_BOUNDARY) + _next(_MIXED_BOUNDARY) + alternative
            tail += b"".join(_next(_MIXED_BOUNDARY) + part for part in attached) + _last(_MIXED_BOUNDARY)
        return cls(head, alternative + _next(_ALTERNATIVE_BOUNDARY), tail)

    def fill(
        self,
        *,
        to_name: str,
        to_email: str,
        subject: str,
        text: str,
        html: str,
        message_id: str,
        date: datetime,
        unsubscribe_url: str | None = None,
        smtputf8: bool = False,
    ) -> bytes:
        """The mail to one recipient.

        With `smtputf8` the To address alone may go beyond ASCII, for servers that offer it (RFC 6532).
        `message_id` comes without angle brackets. With `unsubscribe_url` the mail offers one-click unsubscription
        (RFC 8058). Names and subject are cleaned to one line. Raises AddressInvalid for `to_email`, ValueError for a
        `message_id` or `unsubscribe_url` that a header cannot hold.
        """
        headers = [
            self._head,
            b"To: ",
            _mailbox(to_name, utf8_address(to_email) if smtputf8 else ascii_address(to_email)),
            b"\r\nSubject: ",
            _unstructured(subject),
            b"\r\nDate: ",
            _date(date.replace(microsecond=0)),
            b"\r\nMessage-ID: <",
            _header_token(message_id, "message_id"),
            b">\r\n",
        ]
        if unsubscribe_url is not None:
            headers += (
                b"List-Unsubscribe: <",
                _header_token(unsubscribe_url, "unsubscribe_url"),
                b">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            )
        return b"".join(
            (
                *headers,
                self._before_text,
                *_text_part(b"plain", text),
                _next(_ALTERNATIVE_BOUNDARY),
                *_text_part(b"html", html),
                self._tail,
            )
        )


def _text_part(subtype: bytes, text: str) -> tuple[bytes, ...]:
    """As it is where ASCII carries it, else quoted-printable, unless base64 makes it clearly shorter."""
    if isinstance(text, Filled) and subtype == b"html" and (parts := _encoded_apart(text)) is not None:
        return b"Content-Type: text/html", _SEVEN_BIT, *parts
    data = _octets(subtype, text)
    if data.isascii() and _has_short_lines(data):
        return b"Content-Type: text/", subtype, _SEVEN_BIT, data.replace(b"\n", b"\r\n")
    if len(data) > len(text) * 4 // 3:
        encoded = base64.encodebytes(data.replace(b"\n", b"\r\n")).replace(b"\n", b"\r\n")
        return b"Content-Type: text/", subtype, _BASE64, encoded
    return b"Content-Type: text/", subtype, _QUOTED_PRINTABLE, b"\r\n".join(map(_quoted, data.split(b"\n")))


def _encoded_apart(html: Filled) -> list[bytes] | None:
    """What `_text_part` makes of HTML that ASCII carries, of literals that are encoded once for all mails of a message.

    None where that is not certain.
    """
    literals, room = _encoded_literals(html.literals)
    values = [value.encode("ascii", "xmlcharrefreplace") for value in html.values]
    together = b"".join(values)
    if len(together) > room or b"\n" in together or b"\r" in together or _has_c1("".join(html.values)):
        return None
    return interleaved(literals, values)


@lru_cache(_LITERALS_KEPT)
def _encoded_literals(literals: tuple[str, ...]) -> tuple[tuple[bytes, ...], int]:
    """With CRLF, and how many octets the values may have together so that every line fits; less than none if never."""
    octets = _octets(b"html", "".join(literals))
    if not octets.isascii():
        return (), -1
    encoded = [_octets(b"html", literal) for literal in literals]
    room = _LONGEST_LINE - max(map(len, octets.split(b"\n")))
    return tuple(each.replace(b"\n", b"\r\n") for each in encoded), room if b"".join(encoded) == octets else -1


def _has_short_lines(data: bytes) -> bool:
    """Whether every line fits, found by jumping from line end to line end, as far as one line may reach."""
    line_start = 0
    while len(data) - line_start > _LONGEST_LINE:
        line_end = data.rfind(b"\n", line_start, line_start + _LONGEST_LINE + 1)
        if line_end < 0:
            return False
        line_start = line_end + 1
    return True


def _octets(subtype: bytes, text: str) -> bytes:
    """With line feeds alone. HTML has a way of its own to write a few characters beyond ASCII."""
    data = text.encode("ascii", "xmlcharrefreplace") if subtype == b"html" else text.encode("utf-8", "replace")
    if subtype == b"html" and (len(data) > len(text) * 4 // 3 or _has_c1(text)):
        data = text.encode("utf-8", "replace")
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def _has_c1(text: str) -> bool:
    return not text.isascii() and _C1.search(text) is not None


@lru_cache(_LINES_KEPT)
def _quoted(line: bytes) -> bytes:
    """One line; kept, since most lines are the same in every mail of a message."""
    return binascii.b2a_qp(line, istext=True).replace(b"\n", b"\r\n")


_SEVEN_BIT = b'; charset="utf-8"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n'
_QUOTED_PRINTABLE = b'; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
_BASE64 = b'; charset="utf-8"\r\nContent-Transfer-Encoding: base64\r\n\r\n'


def _attachment_part(filename: str, content_type: str, content: bytes) -> bytes:
    part = EmailMessage(policy=SMTP)
    part.set_content(
        content, "application", "octet-stream", disposition="attachment", filename=clean_value(filename, 120)
    )
    part.replace_header("Content-Type", content_type)
    del part["MIME-Version"]
    return part.as_bytes()


def _content_type(multipart: bytes, boundary: bytes) -> bytes:
    return b"Content-Type: " + multipart + b';\r\n boundary="' + boundary + b'"\r\n'


def _next(boundary: bytes) -> bytes:
    return b"\r\n--" + boundary + b"\r\n"


def _last(boundary: bytes) -> bytes:
    return b"\r\n--" + boundary + b"--\r\n"


def _mailbox(name: str, address: str) -> bytes:
    name = clean_value(name, DISPLAY_NAME_LIMIT)
    if not name:
        return address.encode()
    if _is_plain(name, _LONGEST_QUOTED_NAME):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}" <{address}>'.encode()
    return f"{_encoded_words(name)}\r\n <{address}>".encode()


@lru_cache(1)
def _date(second: datetime) -> bytes:
    return format_datetime(second).encode("ascii")


def _unstructured(value: str) -> bytes:
    value = clean_value(value, SUBJECT_LIMIT)
    return (value if _is_plain(value, _LONGEST_PLAIN_SUBJECT) else _encoded_words(value)).encode("ascii")


def _is_plain(value: str, limit: int) -> bool:
    # "=?" would be read as the start of an encoded word, even within quotes.
    return len(value) <= limit and value.isascii() and "=?" not in value


def _encoded_words(value: str) -> str:
    """RFC 2047, folded: no word splits a character."""
    words: list[bytes] = []
    word = b""
    for octets in map(str.encode, value):
        if len(word) + len(octets) > _ENCODED_WORD_OCTETS:
            words.append(word)
            word = b""
        word += octets
    words.append(word)
    return "\r\n ".join(f"=?utf-8?b?{binascii.b2a_base64(word, newline=False).decode('ascii')}?=" for word in words)


def _header_token(value: str, name: str) -> bytes:
    if not (value.isascii() and value.isprintable()) or " " in value or "<" in value or ">" in value:
        raise ValueError(f"{name} must be printable ASCII without spaces or angle brackets")
    return value.encode("ascii")
