import pytest

from guestguard_dagster.rendering.addresses import AddressInvalid, AddressNeedsSmtpUtf8, ascii_address, utf8_address


@pytest.mark.parametrize(
    ("written", "ascii_form"),
    [
        ("ann@example.com", "ann@example.com"),
        (" ann@example.com ", "ann@example.com"),
        ("o'neil+party@mail.example.co.uk", "o'neil+party@mail.example.co.uk"),
        ("ann@localhost", "ann@localhost"),
        ("ann@straße.example", "ann@xn--strae-oqa.example"),
        ("ann@例え.jp", "ann@xn--r8jz45g.jp"),
        ("ann..lee.@example.jp", '"ann..lee."@example.jp'),
    ],
)
def test_an_address_takes_its_ascii_form(written: str, ascii_form: str) -> None:
    assert ascii_address(written) == ascii_form


@pytest.mark.parametrize(
    "written",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@exa_mple.com",
        "ann@-example.com",
        "ann@example..com",
        "ann@example.com.",
        "a b@example.com",
        "ann@example.com>",
        "<ann@example.com>",
        "ann@example.com\nx",
        "a\x00@example.com",
        "a,b@example.com",
        f"{'a' * 65}@example.com",
        f"ann@{'a.' * 130}example",
        "ann@\u2488com",
    ],
)
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(AddressInvalid) as refused:
        ascii_address(written)
    assert not isinstance(refused.value, AddressNeedsSmtpUtf8)


def test_a_local_part_beyond_ascii_says_what_it_needs() -> None:
    with pytest.raises(AddressNeedsSmtpUtf8, match="beyond ASCII"):
        ascii_address("zoë@example.com")


def test_for_smtputf8_the_local_part_keeps_its_letters_and_nothing_else() -> None:
    assert utf8_address("zoe\u0308@straße.example") == "zoë@xn--strae-oqa.example"
    assert utf8_address("ann@example.com") == "ann@example.com"
    for hostile in (
        "zo ë@example.com",
        "zoë\u202e@example.com",
        "zoë\u2028@example.com",
        "zoë>@example.com",
        "ë" * 33 + "@a.b",
    ):
        with pytest.raises(AddressInvalid):
            utf8_address(hostile)
