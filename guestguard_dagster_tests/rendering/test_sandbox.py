import pytest
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError

from guestguard_dagster.domain.placeholders import Placeholder
from guestguard_dagster.rendering.sandbox import compile_html, compile_plain

VALUES = {placeholder.value: "<x>" for placeholder in Placeholder}


def test_values_are_escaped_in_html_alone() -> None:
    pieces = ["<b>", Placeholder.VENUE, Placeholder.GUEST_NAME, "</b>\n"]
    assert compile_plain(pieces, VALUES).fill(VALUES) == "<b><x><x></b>\n"
    assert compile_html(pieces, VALUES).fill(VALUES) == "<b>&lt;x&gt;&lt;x&gt;</b>\n"


@pytest.mark.parametrize("name", ["range", "dict", "lipsum", "cycler", "joiner", "namespace", "config", "_"])
def test_nothing_but_the_placeholders_is_in_scope(name: str) -> None:
    """Syntax is refused long before; this is the second wall."""
    with pytest.raises(UndefinedError):
        compile_plain([f"{{{{{name}}}}}"], VALUES)


@pytest.mark.parametrize(
    "syntax", ["{{venue|upper}}", "{{venue|attr('x')}}", "{{venue is defined}}", "{% include 'x' %}"]
)
def test_no_filter_test_or_file_is_reachable(syntax: str) -> None:
    with pytest.raises((TemplateError, TypeError)):
        compile_plain([syntax], VALUES)


def test_attributes_of_values_lead_nowhere() -> None:
    with pytest.raises(SecurityError):
        compile_plain(["{{venue.__class__}}"], VALUES)


def test_a_missing_value_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(UndefinedError):
        compile_plain([Placeholder.EVENT_DATE], {"venue": "here"})
