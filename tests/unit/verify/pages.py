"""What a browser would find in a page of results, of verifications and of campaigns alike."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "hr", "img", "input", "col"}
_LOADING = {"src", "srcset", "data", "action", "poster", "xlink:href", "background"}


class Page(HTMLParser):
    """A page's parts, and what a browser would stumble over."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.headings: list[int] = []
        self.text: list[str] = []
        self.faults: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        times = Counter(name for name, _ in attrs)
        self.faults += [f"{tag} has {name} twice" for name, number in times.items() if number > 1]
        self.attributes += [(name, value or "") for name, value in attrs]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"{tag} ends in {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.text.append(data)

    def values(self, *names: str) -> list[str]:
        """The values of attributes of these names, in their order."""
        return [value for name, value in self.attributes if name in names]

    @property
    def ids(self) -> list[str]:
        return self.values("id")

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def stands_alone(html: str) -> Page:
    """A page must be well-formed, lead nowhere but into itself, and load nothing."""
    page = Page(html)
    assert page.faults == []
    assert [each for each, times in Counter(page.ids).items() if times > 1] == []
    assert all(each and not re.search(r"\s", each) for each in page.ids)
    links = page.values("href")
    assert {link[1:] for link in links if link.startswith("#")} <= set(page.ids)
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    references = page.values("aria-labelledby", "aria-describedby", "for")
    assert {each for value in references for each in value.split()} <= set(page.ids)
    assert [each for each in page.attributes if each[0] in _LOADING or each[0].startswith("on")] == []
    assert not re.search(r"@import|url\(", html.partition("<style>")[2].partition("</style>")[0])
    assert not {"img", "iframe", "object", "embed", "audio", "video", "form"} & set(page.tags)
    return page
