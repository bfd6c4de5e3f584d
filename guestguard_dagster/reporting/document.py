"""A report as its parts, and the three ways it is read: a page of its own, a mail, and a summary in Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from guestguard_dagster.reporting.charts import as_data_uri

Tone = Literal["plain", "good", "bad"]
Cell = str | int

_NUMBER = re.compile(r"([\d.,]+ ?(s|min|%)?)?")


@dataclass(frozen=True, slots=True)
class Card:
    """One number that everybody looks for first."""

    label: str
    value: str
    tone: Tone = "plain"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers stand to the right, texts to the left. Every row has as many cells as there are columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers alone, with or without a unit."""
        return [all(_is_number(row[place]) for row in self.rows) for place in range(len(self.columns))]


@dataclass(frozen=True, slots=True)
class Section:
    """`chart` is a PNG that shows what the table below it says; mails leave such sections out."""

    heading: str
    text: str = ""
    table: Table | None = None
    chart: bytes | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """`lead` is the whole report in a sentence or two; `notices` are what somebody should do something about."""

    title: str
    period: str
    lead: str
    cards: Sequence[Card] = ()
    notices: Sequence[str] = ()
    sections: Sequence[Section] = ()
    footer: str = ""

    @property
    def is_empty(self) -> bool:
        """There is nothing to report, and the lead says so."""
        return not self.cards and not self.sections

    def page(self) -> str:
        """A page of HTML that needs nothing else: styles and charts are in it."""
        return self._html(for_mail=False, link=None)

    def mail_html(self, *, link: str | None) -> str:
        """The same for a mail, which leads to the page."""
        return self._html(for_mail=True, link=link)

    def mail_text(self, *, link: str | None) -> str:
        parts = [self.title, self.period, "", self.lead, ""]
        parts += [f"{card.label}: {card.value}{f' ({card.note})' if card.note else ''}" for card in self.cards]
        parts += ["", *(f"! {notice}" for notice in self.notices)] if self.notices else []
        for section in (section for section in self.sections if section.chart is None):
            parts += ["", section.heading, "-" * len(section.heading)]
            parts += [section.text] if section.text else []
            parts += _text_table(section.table) if section.table else []
        parts += ["", f"Open the report: {link}"] if link else []
        return "\n".join([*parts, "", self.footer, ""])

    def summary(self) -> str:
        """Title, lead, cards and notices in Markdown."""
        cards = Table(["", ""], [[card.label, f"**{card.value}** {card.note}".rstrip()] for card in self.cards])
        parts = [f"### {_as_markdown(self.title)}", _as_markdown(self.period), _as_markdown(self.lead)]
        parts += [_markdown_table(cards)] if self.cards else []
        parts += ["\n".join(f"- ⚠ {_as_markdown(notice)}" for notice in self.notices)] if self.notices else []
        return "\n\n".join(parts) + "\n"

    def _html(self, *, for_mail: bool, link: str | None) -> str:
        return _templates().get_template("document.html").render(document=self, for_mail=for_mail, link=link)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("guestguard_dagster.reporting"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = as_data_uri
    environment.filters["shown"] = _shown
    return environment


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int) or _NUMBER.fullmatch(cell) is not None


def _shown(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else cell


def _text_table(table: Table) -> list[str]:
    rows = [list(table.columns), *([str(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    return [
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, table.numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def _markdown_table(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join("| " + " | ".join(_as_markdown(str(cell)) for cell in line) + " |" for line in lines)


def _as_markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
