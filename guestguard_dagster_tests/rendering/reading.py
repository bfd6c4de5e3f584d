"""Reads rendered HTML as a mail client would: visible text, links, and whether every tag is closed."""

from html.parser import HTMLParser

_VOID = frozenset({"br", "img", "meta"})
_UNSEEN = frozenset({"style", "title"})


class ReadHtml(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"tags left open: {self._open}"

    @property
    def text(self) -> str:
        """Words as they follow each other, whitespace collapsed."""
        return " ".join("".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "a":
            self.links.append(attributes["href"] or "")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not _UNSEEN.intersection(self._open):
            self._texts.append(data)
