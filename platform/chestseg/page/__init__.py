"""Reports as one HTML file: blocks in, a page out. The only code that imports Jinja."""

from chestseg.page.blocks import Block, Figure, Heading, Listing, Note, Page, Paragraph, Table
from chestseg.page.render import render, write_page

__all__ = ["Block", "Figure", "Heading", "Listing", "Note", "Page", "Paragraph", "Table", "render", "write_page"]
