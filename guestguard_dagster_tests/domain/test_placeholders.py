import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.placeholders import (
    LONGEST_EMAIL_BODY,
    LONGEST_SMS_BODY,
    LONGEST_SUBJECT,
    Placeholder,
    TemplateRefused,
    check_template,
    require_template,
    split_template,
)
from guestguard_dagster.domain.reminders import REMINDER_RULES

EMAIL, SMS = MessageChannel.EMAIL, MessageChannel.SMS


def problems_of(body: str, subject: str = "Hello") -> list[str]:
    return [str(problem) for problem in check_template(EMAIL, subject, body)]


@pytest.mark.parametrize("kind", list(REMINDER_RULES))
def test_the_reminders_own_texts_are_accepted(kind: str) -> None:
    rule = {str(kind): rule for kind, rule in REMINDER_RULES.items()}[kind]
    assert check_template(EMAIL, rule.subject, rule.body) == []


def test_all_five_placeholders_are_accepted_in_subject_and_body_with_or_without_spaces() -> None:
    everything = " ".join(placeholder.written for placeholder in Placeholder)
    assert problems_of(everything, subject=everything) == []
    assert problems_of("{{ guest_name }} {{  venue}}") == []
    assert everything == "{{guest_name}} {{event_name}} {{event_date}} {{venue}} {{rsvp_link}}"


def test_single_braces_are_plain_text() -> None:
    assert problems_of("{ } {guest_name} {a{b}c} :-} 100 %} #} {{venue}}}") == []
    assert split_template("a {b} {{venue}}}") == ["a {b} ", Placeholder.VENUE, "}"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("Hi {{guest}}", "unknown placeholder {{guest}}; did you mean {{guest_name}}?"),
        ("Hi {{GUEST_NAME}}", "unknown placeholder {{GUEST_NAME}}; did you mean {{guest_name}}?"),
        ("{{range}}", "unknown placeholder {{range}}; there are"),
        ("{{self}}", "unknown placeholder {{self}}"),
        ("{{guest_name|upper}}", "filters are not available"),
        ("{{guest_name.__class__}}", "attributes are not available"),
        ("{{guest_name[0]}}", "literal values are not available"),
        ("{{guest_name()}}", "calls are not available"),
        ("{{'text'}}", "literal values are not available"),
        ("{{7}}", "literal values are not available"),
        ("{{venue ~ venue}}", "calculations are not available"),
        ("{{- venue -}}", "calculations are not available"),
        ("{{guest_name venue}}", "only the name of a placeholder"),
        ("{{}}", "only the name of a placeholder"),
        ("{% if venue %}", "template logic"),
        ("{%- raw %}", "template logic"),
        ("{# note #}", "template comments"),
        ("{{guest_name", "{{ without its }}"),
        ("{{guest_name\n}}", "{{ without its }}"),
        ("guest_name}}", "}} without its {{"),
        ("{{{guest_name}}}", "more than two opening braces"),
        ("{\u200b{range}}", "unknown placeholder {{range}}"),
        ("{\u202e% if %}", "template logic"),
    ],
)
def test_anything_but_a_placeholder_is_refused_with_line_and_reason(body: str, problem: str) -> None:
    first = problems_of("First line.\r\n\nThird: " + body)[0]
    assert first.startswith("body, line 3: ")
    assert problem in first


def test_every_problem_is_reported_at_its_own_line() -> None:
    with pytest.raises(TemplateRefused) as refused:
        require_template(EMAIL, "{{nobody}}", "{{venue}}\n{{one}}\n\n{% two %} {{guest_name}} {{three()}}")
    assert [(problem.field, problem.line) for problem in refused.value.problems] == [
        ("subject", 1),
        ("body", 2),
        ("body", 4),
        ("body", 4),
    ]
    assert "body, line 2: unknown placeholder {{one}}" in str(refused.value)


def test_a_subject_is_one_line() -> None:
    for separator in ("\n", "\r", "\r\n"):
        assert problems_of("Hello", subject=f"Party{separator}Bcc: everyone") == [
            "subject, line 1: a subject is one line; remove the line breaks"
        ]


def test_an_empty_text_is_refused() -> None:
    assert problems_of(" \n ", subject="") == [
        "subject, line 1: the subject is empty",
        "body, line 1: the body is empty",
    ]


def test_an_sms_needs_no_subject() -> None:
    assert check_template(SMS, "", "See you at {{venue}}") == []


@pytest.mark.parametrize(
    ("channel", "subject", "body"),
    [
        (EMAIL, "x" * (LONGEST_SUBJECT + 1), "x"),
        (EMAIL, "x", "x" * (LONGEST_EMAIL_BODY + 1)),
        (SMS, "", "x" * (LONGEST_SMS_BODY + 1)),
    ],
)
def test_too_long_a_text_is_refused(channel: MessageChannel, subject: str, body: str) -> None:
    (problem,) = check_template(channel, subject, body)
    assert "characters" in problem.reason
    assert "allowed" in problem.reason


def test_characters_that_cannot_be_stored_are_refused() -> None:
    for broken in ("a\x00b", "a\ud800b"):
        assert problems_of(broken) == ["body, line 1: the body has characters that are no text; type it anew"]


def test_a_flood_of_braces_is_answered_with_a_few_problems() -> None:
    for flood in ("{{ " * 6_000, "{" * 20_000, "}" * 20_000, "{{a}}" * 4_000):
        assert 1 <= len(problems_of(flood)) <= 20


TEMPLATE_SOUP = st.lists(
    st.sampled_from(["{", "}", "{{", "}}", "{%", "%}", "{#", "#}", "|", "\n", " ", "guest_name", "{{venue}}", "\u200b"])
    | st.text(max_size=5)
).map("".join)


@settings(max_examples=300, deadline=None)
@given(soup=TEMPLATE_SOUP)
def test_splitting_loses_nothing_of_an_accepted_text(soup: str) -> None:
    if not check_template(EMAIL, "x", soup):
        pieces = split_template(soup)
        assert "".join(piece.written if isinstance(piece, Placeholder) else piece for piece in pieces) == soup
