import pytest

from guestguard_dagster.domain.phones import to_e164


@pytest.mark.parametrize(
    ("written", "region", "number"),
    [
        ("0171 1234567", "DE", "+491711234567"),
        ("(0171) 123-4567", "de", "+491711234567"),
        ("+49 171 1234567", None, "+491711234567"),
        ("+49 171 1234567", "US", "+491711234567"),
        ("0171 1234567", None, None),
        ("0171 1234567", "XX", None),
        ("call me", "DE", None),
        ("1", "DE", None),
        ("", "DE", None),
    ],
)
def test_a_number_is_read_as_its_region_writes_it(written: str, region: str | None, number: str | None) -> None:
    assert to_e164(written, region) == number


def test_what_was_read_once_reads_the_same_in_any_region() -> None:
    number = to_e164("0171 1234567", "DE")
    assert number is not None
    assert to_e164(number, "AT") == number
