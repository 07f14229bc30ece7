"""A page as one HTML file that asks nothing of the network and runs no script."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from chestseg.files import whole_file
from chestseg.page.blocks import Heading, Page

TEMPLATE = "page.html.jinja"


def render(page: Page) -> str:
    """The page as HTML, everything escaped; a policy inside it forbids scripts and requests."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("chestseg.page").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    sections = [block for block in page.blocks if isinstance(block, Heading)]
    return template.render(page=page, sections=sections)


def write_page(page: Page, path: str | Path) -> None:
    """Write the page to `path`, whole or not at all."""
    with whole_file(path) as file:
        file.write_text(render(page), encoding="utf-8")
