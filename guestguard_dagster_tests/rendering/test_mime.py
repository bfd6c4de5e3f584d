from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default as default_policy
from email.utils import parseaddr
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.plain_text import SUBJECT_LIMIT, clean_value
from guestguard_dagster.rendering.addresses import AddressInvalid, AddressNeedsSmtpUtf8
from guestguard_dagster.rendering.mime import DISPLAY_NAME_LIMIT, MimeSkeleton

DATE = datetime(2026, 12, 5, 17, 30, tzinfo=UTC)
ANY_TEXT = st.text(alphabet=st.characters(), max_size=300)
TRICKY = st.lists(
    st.sampled_from(
        [
            "\r",
            "\n",
            "\r\n",
            ".",
            "=",
            "?",
            "=?utf-8?q?x?=",
            '"',
            "\\",
            "<",
            ">",
            ",",
            ";",
            ":",
            "@",
            " ",
            "\t",
            "é",
            "漢",
            "😀",
        ]
    )
    | st.text(max_size=8)
).map("".join)
VALUES = ANY_TEXT | TRICKY


def fill(skeleton: MimeSkeleton | None = None, /, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "to_name": "Ann Lee",
        "to_email": "ann@example.com",
        "subject": "Hello",
        "text": "Hi Ann\n",
        "html": "<p>Hi Ann</p>\n",
        "message_id": "delivery-7-1@mail.example.com",
        "date": DATE,
        "unsubscribe_url": None,
    }
    return (skeleton or a_skeleton()).fill(**(fields | changes))


def a_skeleton(**changes: Any) -> MimeSkeleton:
    fields = {"from_name": "Hanna via GuestGuard", "from_email": "events@example.com", "reply_to": "hanna@example.com"}
    return MimeSkeleton.build(**(fields | changes))


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=default_policy)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert part.defects == []
        for name, value in part.items():
            assert value.defects == (), name
    return message


def content_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content


def readable(text: str) -> str:
    """What a mail can carry of any text: whole characters, CRLF line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode("utf-8", "replace").decode()


def address_of(raw: bytes, header: str) -> tuple[str, str]:
    """Read by the older parser: the newer one of Python 3.11 puts a space between two encoded words of a name."""
    (value,) = message_from_bytes(raw).get_all(header, [])
    name, address = parseaddr(value.replace("\r\n", ""))
    return str(make_header(decode_header(name))), address


@settings(max_examples=300, deadline=None)
@given(to_name=VALUES, from_name=VALUES, subject=VALUES, text=VALUES, html=VALUES, hours=st.integers(-14, 14))
@example(to_name='"', from_name="\\", subject="=?utf-8?q?x?=", text=".\r\n.\n..", html="From me\n \t\n", hours=0)
@example(
    to_name="a" * 10_000, from_name="é" * 10_000, subject="漢" * 10_000, text="x" * 5_000, html="é" * 5_000, hours=1
)
def test_a_filled_mail_reads_back_as_what_went_in(
    to_name: str, from_name: str, subject: str, text: str, html: str, hours: int
) -> None:
    date = DATE + timedelta(hours=hours)
    url = "https://example.com/u/abc_-123"
    raw = fill(
        a_skeleton(from_name=from_name),
        to_name=to_name,
        subject=subject,
        text=text,
        html=html,
        date=date,
        unsubscribe_url=url,
    )

    message = parsed(raw)
    assert message.keys() == [
        "From",
        "Reply-To",
        "MIME-Version",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "Content-Type",
    ]
    assert address_of(raw, "From") == (clean_value(from_name, DISPLAY_NAME_LIMIT), "events@example.com")
    assert address_of(raw, "To") == (clean_value(to_name, DISPLAY_NAME_LIMIT), "ann@example.com")
    assert message["Subject"] == clean_value(subject, SUBJECT_LIMIT)
    assert message["Date"].datetime == date
    assert message["Message-ID"] == "<delivery-7-1@mail.example.com>"
    assert message["List-Unsubscribe"] == f"<{url}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert content_of(message, "plain") == readable(text)
    assert content_of(message, "html") == readable(html)


@settings(max_examples=200, deadline=None)
@given(name=VALUES, subject=VALUES, text=VALUES)
@example(name="Ann", subject="x", text="one long line = " * 100)
@example(name="Ann", subject="x", text="one long line, fully ö " * 100)
def test_every_line_is_ascii_that_smtp_carries_and_ends_in_crlf(name: str, subject: str, text: str) -> None:
    raw = fill(a_skeleton(from_name=name), to_name=name, subject=subject, text=text, html=text)
    assert raw.isascii()
    assert b"\x00" not in raw
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert max(map(len, raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 120
    assert not any(b"\r" in line or b"\n" in line for line in lines)


@pytest.mark.parametrize("field", ["to_name", "subject"])
def test_no_value_can_add_a_header(field: str) -> None:
    for line_end in ("\r\n", "\n", "\r", "\u2028", "\x85", "\x0b"):
        message = parsed(fill(**{field: f"Ann{line_end}Bcc: all@example.com{line_end}{line_end}<p>body"}))
        assert message["Bcc"] is None
        assert content_of(message, "plain") == "Hi Ann\r\n"


@pytest.mark.parametrize("field", ["message_id", "unsubscribe_url"])
@pytest.mark.parametrize("value", ["a@b\r\nBcc: c@d", "a b", "a>b", "<a", "ä@b"])
def test_a_broken_message_id_or_link_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field):
        fill(**{field: value})


def test_a_mail_without_unsubscribe_link_offers_none() -> None:
    message = parsed(fill())
    assert message["List-Unsubscribe"] is None
    assert message["List-Unsubscribe-Post"] is None


def test_names_without_letters_leave_the_bare_address() -> None:
    raw = fill(a_skeleton(from_name="\u202e", reply_to=None), to_name=" ")
    assert address_of(raw, "To") == ("", "ann@example.com")
    assert address_of(raw, "From") == ("", "events@example.com")
    assert parsed(raw)["Reply-To"] is None


def test_domains_beyond_ascii_are_written_as_idna() -> None:
    raw = fill(a_skeleton(reply_to="hanna@büro.example"), to_email="ann@exämple.com")
    assert address_of(raw, "To")[1] == "ann@xn--exmple-cua.com"
    assert address_of(raw, "Reply-To")[1] == "hanna@xn--bro-hoa.example"


def test_addresses_that_mail_cannot_carry_are_refused_without_naming_them() -> None:
    with pytest.raises(AddressNeedsSmtpUtf8):
        fill(to_email="änn@example.com")
    for address in ("ann", "ann@example.com\r\nBcc: b@example.com", "ann@b@", "a n@example.com", "ann@exa mple.com"):
        with pytest.raises(AddressInvalid) as refused:
            fill(to_email=address)
        assert "ann" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello Zoe, see you soon!\n", "7bit"),
        ("one long line " * 100, "quoted-printable"),
        ("Hello Zoë, see you soon!\n", "quoted-printable"),
        ("שלום לכולם\n", "base64"),
        ("お元気ですか\n", "base64"),
    ],
)
def test_text_stays_readable_unless_most_of_it_is_beyond_ascii(text: str, encoding: str) -> None:
    part = parsed(fill(text=text)).get_body(("plain",))
    assert part is not None
    assert part["Content-Transfer-Encoding"] == encoding
    assert part.get_content_charset() == "utf-8"
    assert part.get_content().replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize(
    ("html", "encoding", "written"),
    [
        ("<p>Zoë sees you at the garden party</p>\n", "7bit", "<p>Zo&#235; sees you at the garden party</p>\n"),
        (
            "<p>" + "Zoë sees you soon, " * 60 + "</p>\n",
            "quoted-printable",
            "<p>" + "Zo&#235; sees you soon, " * 60 + "</p>\n",
        ),
        ("<p>שלום לכולם שלום לכולם</p>\n", "base64", "<p>שלום לכולם שלום לכולם</p>\n"),
        # as a reference it would be read as a euro sign
        (
            "<p>Ann\x80, see you at the garden party</p>\n",
            "quoted-printable",
            "<p>Ann\x80, see you at the garden party</p>\n",
        ),
    ],
)
def test_html_writes_a_few_characters_as_references(html: str, encoding: str, written: str) -> None:
    part = parsed(fill(html=html)).get_body(("html",))
    assert part is not None
    assert part["Content-Transfer-Encoding"] == encoding
    assert part.get_content().replace("\r\n", "\n") == written


def test_attachments_follow_the_two_texts() -> None:
    calendar = ("plän \r\n.ics", "text/calendar; method=REQUEST", b"BEGIN:VCALENDAR\r\n" * 100)
    picture = ("map.png", "image/png", bytes(range(256)))
    message = parsed(fill(a_skeleton(attachments=[calendar, picture])))

    assert message.get_content_type() == "multipart/mixed"
    assert content_of(message, "plain") == "Hi Ann\r\n"
    assert content_of(message, "html") == "<p>Hi Ann</p>\r\n"
    ics, png = message.iter_attachments()
    assert (ics.get_filename(), ics.get_content_type()) == ("plän .ics", "text/calendar")
    assert ics["Content-Type"].params["method"] == "REQUEST"
    assert ics.get_payload(decode=True) == calendar[2]
    assert (png.get_filename(), png.get_content_type()) == ("map.png", "image/png")
    assert png.get_payload(decode=True) == picture[2]


def test_the_same_mail_is_the_same_bytes() -> None:
    assert fill(a_skeleton(), subject="Grüße") == fill(a_skeleton(), subject="Grüße")
