"""Phone numbers as providers want them."""


def to_e164(number: str, region: str | None) -> str | None:
    """`number` as E.164 (`+491711234567`), or None when it cannot be a phone number.

    `region` (ISO 3166 alpha-2) reads numbers written without a country code.
    """
    import phonenumbers  # its tables take long to load, and most processes never see a phone number

    try:
        parsed = phonenumbers.parse(number, region.upper() if region else None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def is_region(region: str) -> bool:
    """Whether this is a country, as ISO 3166 alpha-2, that phone numbers can be read for."""
    import phonenumbers

    return region.upper() in phonenumbers.SUPPORTED_REGIONS
