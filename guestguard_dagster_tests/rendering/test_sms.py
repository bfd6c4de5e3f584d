from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.placeholders import TemplateRefused
from guestguard_dagster.rendering.facts import EventFacts
from guestguard_dagster.rendering.sms import MOST_SEGMENTS, SegmentCount, TextTemplate, TextTooLong, sms_segments
from guestguard_dagster_tests.domain.drafts import an_event

FACTS = EventFacts.of(an_event(datetime(2026, 12, 5, 17, 30, tzinfo=UTC), "Europe/Berlin"))
LINK = "https://example.com/rsvp/Ab9"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", SegmentCount("GSM-7", 0, 1)),
        ("a" * 160, SegmentCount("GSM-7", 160, 1)),
        ("a" * 161, SegmentCount("GSM-7", 161, 2)),
        ("a" * 306, SegmentCount("GSM-7", 306, 2)),
        ("a" * 307, SegmentCount("GSM-7", 307, 3)),
        ("äöüßÄÖÜñ@£$\n", SegmentCount("GSM-7", 12, 1)),
        ("€" * 80, SegmentCount("GSM-7", 160, 1)),
        # 153 is odd: the 77th euro sign does not fit into what is left of the first segment.
        ("€" * 81, SegmentCount("GSM-7", 162, 2)),
        ("€" * 153, SegmentCount("GSM-7", 306, 3)),
        ("ж" * 70, SegmentCount("UCS-2", 70, 1)),
        ("ж" * 71, SegmentCount("UCS-2", 71, 2)),
        ("ж" * 134, SegmentCount("UCS-2", 134, 2)),
        ("ж" * 135, SegmentCount("UCS-2", 135, 3)),
        ("😀" * 35, SegmentCount("UCS-2", 70, 1)),
        # 67 is odd: a pair of surrogates is not split.
        ("😀" * 67, SegmentCount("UCS-2", 134, 3)),
        ("`", SegmentCount("UCS-2", 1, 1)),
    ],
)
def test_segments_are_counted_as_carriers_bill_them(text: str, count: SegmentCount) -> None:
    assert sms_segments(text) == count


def test_an_sms_is_rendered_unescaped_with_plain_typography() -> None:
    template = TextTemplate.compile("Hi {{guest_name}} – it’s {{event_name}}, {{event_date}}!\n{{rsvp_link}}\n", FACTS)
    text = template.render(guest_name="Ann <b>& Co</b>", rsvp_link=LINK)
    assert text == f"Hi Ann <b>& Co</b> - it's Garden Party, Sat, 05 Dec 2026 - 18:30!\n{LINK}"
    assert sms_segments(text).encoding == "GSM-7"


def test_an_sms_with_anything_but_placeholders_is_refused() -> None:
    with pytest.raises(TemplateRefused, match="line 2: unknown placeholder"):
        TextTemplate.compile("Hi\n{{nobody}}", FACTS)


def test_too_long_an_sms_is_refused_when_saved_and_for_the_one_guest_whose_name_makes_it_so() -> None:
    with pytest.raises(TemplateRefused, match=f"{MOST_SEGMENTS} are allowed"):
        TextTemplate.compile("ж" * 671, FACTS)
    template = TextTemplate.compile("ж" * 660 + "{{guest_name}}", FACTS)
    assert template.render(guest_name="Ann", rsvp_link=LINK).endswith("Ann")
    with pytest.raises(TextTooLong):
        template.render(guest_name="Annabella-Maria", rsvp_link=LINK)


@settings(deadline=None)
@given(name=st.text(alphabet=st.characters(), max_size=200))
def test_no_name_breaks_an_sms(name: str) -> None:
    text = TextTemplate.compile("Hi {{guest_name}}!", FACTS).render(guest_name=name, rsvp_link=LINK)
    assert len(text.splitlines()) == 1
    assert text.startswith("Hi ")
    assert text.endswith("!")
