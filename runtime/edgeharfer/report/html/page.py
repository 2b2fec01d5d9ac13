"""Make `report.html` from the sections of a report.

The page needs no other file, no script and no network: its style and its charts are inside. Charts have
a text, figures are in tables with captions, and a content security policy forbids everything else.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from edgeharfer.report.charts.book import ChartBook
from edgeharfer.report.content.blocks import (
    Beside,
    Block,
    Bullets,
    ChartView,
    DataTable,
    Facts,
    Paragraph,
    Photo,
    Section,
    Subheading,
    Tiles,
    Title,
    Together,
)
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.content.sections import document_title, sections
from edgeharfer.report.report import Report
from edgeharfer.runtime.overlay.style import printable
from edgeharfer.runtime.versions import product_version

STYLE = Path(__file__).with_name("report.css")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PX_PER_INCH = 96
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="generator" content="{creator}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the report</a>
<header>
{header}
</header>
<nav aria-label="Contents">
<ul>
{contents}
</ul>
</nav>
<main id="content">
{main}
</main>
<footer><p>{creator}. All figures are also in frames.csv, actions.csv and summary.json.</p></footer>
</body>
</html>
"""


def report_html(report: Report, book: ChartBook, edition: ReportEdition) -> str:
    """Make the page of a report, or of a report on one person (`report.only`)."""
    parts = sections(report, edition)
    title = _text(document_title(report))
    first = parts[0].blocks[0]
    return _PAGE.format(
        policy=_POLICY,
        creator=_text(f"edgeharfer {product_version()}".strip()),
        title=title,
        style=STYLE.read_text(encoding="utf-8"),
        header=_header(first) if isinstance(first, Title) else f"<h1>{title}</h1>",
        contents="\n".join(f'<li><a href="#{part.key}">{_text(part.title)}</a></li>' for part in parts),
        main="\n".join(_section(part, book) for part in parts),
    )


def _header(title: Title) -> str:
    return (
        f'<p class="kicker">{_text(title.kicker)}</p>\n<h1>{_text(title.text)}</h1>\n'
        f'<p class="subtitle">{_text(title.subtitle)}</p>'
    )


def _section(section: Section, book: ChartBook) -> str:
    blocks = [block for block in section.blocks if not isinstance(block, Title)]
    name = f"{section.key}-title"
    return (
        f'<section id="{section.key}" aria-labelledby="{name}">\n'
        f'<h2 id="{name}">{_text(section.title)}</h2>\n{_blocks(blocks, book)}\n</section>'
    )


def _blocks(blocks: Iterable[Block], book: ChartBook) -> str:
    return "\n".join(_block(block, book) for block in blocks)


def _block(block: Block, book: ChartBook) -> str:
    match block:
        case Title():
            return _header(block)
        case Subheading():
            return f"<h3>{_text(block.text)}</h3>"
        case Paragraph():
            return f'<p class="small">{block.markup}</p>' if block.small else f"<p>{block.markup}</p>"
        case Bullets():
            return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in block.items) + "\n</ul>"
        case Tiles():
            return _pairs(block.items, "tiles")
        case Facts():
            return _pairs(block.rows, "facts")
        case DataTable():
            return _table(block)
        case ChartView():
            return _chart(block, book)
        case Photo():
            return _photo(block)
        case Beside():
            kind = "stacked" if block.stacked else "beside"
            return "\n".join([f'<div class="{kind}">', *_columns(block, book), "</div>"])
        case Together():
            return _blocks(block.blocks, book)


def _columns(block: Beside, book: ChartBook) -> list[str]:
    return [
        f'<div style="flex: {share:g}">\n{_blocks(column, book)}\n</div>'
        for column, share in zip(block.columns, block.shares, strict=True)
    ]


def _pairs(items: Sequence[tuple[str, str]], kind: str) -> str:
    """Figures with captions, or facts with values, as a description list."""
    lines = [
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"
        for name, value in (reversed(item) if kind == "tiles" else item for item in items)
    ]
    return f'<dl class="{kind}">\n' + "\n".join(lines) + "\n</dl>"


def _table(table: DataTable) -> str:
    """A table in a region that keyboards can scroll, because it may be wider than a phone."""
    heads = "".join(
        f'<th scope="col"{_align(i, table)}>{_text(text)}</th>' for i, text in enumerate(table.header)
    )
    rows = "\n".join(f"<tr>{_row(row, table)}</tr>" for row in table.rows)
    caption = _text(table.caption)
    return (
        f'<div class="wide" role="region" aria-label="{caption}" tabindex="0"><table>\n'
        f"<caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _row(row: Sequence[str], table: DataTable) -> str:
    first = f'<th scope="row">{_text(row[0])}</th>'
    return first + "".join(f"<td{_align(i, table)}>{_text(text)}</td>" for i, text in enumerate(row[1:], 1))


def _align(column: int, table: DataTable) -> str:
    return "" if column < table.left else ' class="number"'


def _chart(view: ChartView, book: ChartBook) -> str:
    width, height = (round(_PX_PER_INCH * inches) for inches in book.figures[view.chart].get_size_inches())
    return _image(book.png(view.chart), "image/png", view.text, f' width="{width}" height="{height}"')


def _photo(photo: Photo) -> str:
    image = _image(photo.jpeg, "image/jpeg", photo.text)
    return (
        f"<figure>{image}<figcaption>{_text(photo.caption)}</figcaption></figure>" if photo.caption else image
    )


def _image(data: bytes, kind: str, text: str, size: str = "") -> str:
    return f'<img alt="{_text(text)}" src="data:{kind};base64,{b64encode(data).decode()}"{size}>'


def _text(text: str) -> str:
    """Plain text, safe in elements and attributes; characters without a glyph become spaces."""
    return escape(printable(text))
