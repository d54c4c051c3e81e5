"""The page: complete, self-contained, and safe with any text."""

import base64
import re
from html.parser import HTMLParser

from firstlight.report.page import Page, Section, Shown, Table, render

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NASTY = "<script>alert('x')</script> & \"quoted\" {{ 1 }}"


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_with(text: str) -> str:
    return render(
        Page(
            title=text,
            lead=text,
            figures={text: text},
            sections=[
                Section(
                    title=text,
                    text=text,
                    pictures=[Shown(png=PIXEL, alt=text, caption=text)],
                    table=Table(head=[text], rows=[[text]]),
                    code=text,
                ),
                Section(title=text, code=text, folded=True),
            ],
            foot=text,
        )
    )


def test_any_text_is_shown_as_it_is_and_never_becomes_markup() -> None:
    nasty, plain = Reader(page_with(NASTY)), Reader(page_with("plain"))

    assert [tag for tag, _ in nasty.tags] == [tag for tag, _ in plain.tags]
    assert nasty.text.count(NASTY) == plain.text.count("plain")
    assert [a["alt"] for tag, a in nasty.tags if tag == "img"] == [NASTY]


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = page_with("plain")

    assert "http:" not in page and "https:" not in page and "//" not in re.sub(r"// .*", "", page)
    for _, attributes in Reader(page).tags:
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith("data:")


def test_pictures_are_inside_with_their_bytes() -> None:
    sources = [a["src"] for tag, a in Reader(page_with("x")).tags if tag == "img"]

    assert sources == ["data:image/png;base64," + base64.b64encode(PIXEL).decode()]
