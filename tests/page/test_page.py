"""A page holds its blocks, escapes them, and in a browser stays within its width and asks for nothing."""

import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chestseg.page import Figure, Heading, Listing, Note, Page, Paragraph, Table, render, write_page
from tests.page.in_browser import DESKTOP, PHONE, browser, look_at

NASTY = "<script>alert('x')</script> & \"quotes\" </pre></style>"
CHART = b'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="300"><path d="M0 0L900 300" stroke="#0072b2"/></svg>'


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(file, "png")
    return file.getvalue()


def a_page() -> Page:
    wide = Table([f"column {i}" for i in range(30)], [[f"{row * i}.5" for i in range(30)] for row in range(3)], "wide")
    blocks = [
        Heading("First"), Paragraph("word " * 200), Note(NASTY), wide,
        Heading("Pictures"), Figure(png(), "a grey box", "as PNG"), Figure(CHART, "a line", chart=True, wide=True),
        Listing("key: " + "value " * 60 + "\n  deeper: 1", "a file"),
    ]  # fmt: skip
    return Page(f"Report {NASTY}", "What it found.", blocks, "by a test")


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_blocks_are_there_in_order_and_contents_lead_to_sections():
    html = render(a_page())
    assert html.index("First") < html.index("column 0") < html.index("as PNG") < html.index("a file") < html.index("by a test")
    elements = Elements(html)
    sections = [heading["id"] for heading in elements.named("h2")]
    assert [link["href"] for link in elements.named("a")] == [f"#{name}" for name in sections] == ["#section-1", "#section-2"]


def test_everything_is_escaped_and_nothing_comes_from_outside():
    elements = Elements(render(a_page()))
    assert not elements.named("script")
    sources = [value for _, attributes in elements.found for name, value in attributes.items() if name in ("src", "href", "srcset")]
    assert all(source.startswith(("data:", "#")) for source in sources)
    cells = Table([NASTY], [[NASTY]], NASTY)
    figure = Figure(png(), '" onerror="x', NASTY)
    elements = Elements(render(Page(NASTY, NASTY, [Heading(NASTY), Paragraph(NASTY), Listing(NASTY, NASTY), cells, figure], NASTY)))
    assert not elements.named("script")
    assert "onerror" not in elements.named("img")[0]


def test_columns_of_numbers_are_flush_right():
    table = Table(["name", "Dice", "time", "schedule", "none"], [["a", "0.51", "12 s", "128 > 256", ""], ["7", "-", "3.1e+12", "256", "-"]])
    assert table.numeric == [False, True, True, False, True]
    assert Table(["name"], []).numeric == [False]


def test_what_a_caller_got_wrong():
    with pytest.raises(AssertionError, match="rows of scores"):
        Table(["a", "b"], [["1"]], "scores")
    with pytest.raises(AssertionError, match="neither PNG nor SVG"):
        render(Page("t", "s", [Figure(b"GIF89a", "moving")]))


def test_a_page_without_sections_is_written_whole(tmp_path: Path):
    write_page(Page("Title", "Nothing to tell.", []), tmp_path / "deep" / "report.html")
    html = (tmp_path / "deep" / "report.html").read_text()
    assert html.rstrip().endswith("</html>")
    assert "<nav" not in html


@pytest.mark.browser
def test_in_a_browser_at_both_widths_and_in_both_lights(tmp_path: Path):
    file = tmp_path / "report.html"
    write_page(a_page(), file)
    papers = set()
    with browser() as chromium:
        for width in (PHONE, DESKTOP):
            for scheme in ("light", "dark"):
                look = look_at(chromium, file, width, scheme)
                assert look.width <= width
                assert look.images == [True, True]
                assert not look.requests
                assert not look.complaints
                assert look.ink != look.paper
                papers.add(look.paper)
    assert len(papers) == 2
