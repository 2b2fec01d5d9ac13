"""Page size, fonts, text styles and table styles of the PDF."""

from __future__ import annotations

from functools import cache
from typing import Any

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import inch, mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import TableStyle

from edgeharfer.report.charts.style import PAGE_WIDTH_IN
from edgeharfer.report.palette import ACCENT, FAINT, INK, MUTED, RULE
from edgeharfer.report.words import font_file

PAGE = A4
CONTENT_WIDTH = PAGE_WIDTH_IN * inch
SIDE = (PAGE[0] - CONTENT_WIDTH) / 2
TOP, BOTTOM = 18 * mm, 19 * mm
FONT, BOLD, ITALIC = "Report", "Report-Bold", "Report-Italic"


@cache
def register_fonts() -> None:
    """Register DejaVu Sans, the font of the charts, with ReportLab, which embeds it in the file."""
    for name, style in ((FONT, ""), (BOLD, "-Bold"), (ITALIC, "-Oblique")):
        pdfmetrics.registerFont(TTFont(name, str(font_file(style))))
    pdfmetrics.registerFontFamily(FONT, normal=FONT, bold=BOLD, italic=ITALIC, boldItalic=BOLD)


def _style(name: str, **changes: Any) -> Any:
    base = {"fontName": FONT, "fontSize": 8.5, "leading": 12.5, "textColor": HexColor(INK)}
    return ParagraphStyle(name, **{**base, **changes})


BODY = _style("body", spaceAfter=5)
SMALL = _style("small", fontSize=7.5, leading=10.5, textColor=HexColor(MUTED), spaceAfter=4)
CELL = _style("cell", fontSize=7.5, leading=9.5)
CELL_RIGHT = _style("cell right", fontSize=7.5, leading=9.5, alignment=2)
HEAD_CELL = _style("head cell", fontSize=6.6, leading=9, fontName=BOLD, textColor=HexColor(MUTED))
HEAD_CELL_RIGHT = _style(
    "head cell right", fontSize=6.6, leading=9, fontName=BOLD, textColor=HexColor(MUTED), alignment=2
)
TITLE = _style("title", fontName=BOLD, fontSize=23, leading=28, spaceAfter=4, textColor=HexColor(ACCENT))
KICKER = _style("kicker", fontName=BOLD, fontSize=8, leading=11, textColor=HexColor(MUTED), spaceAfter=7)
SUBTITLE = _style("subtitle", fontSize=10, leading=14, textColor=HexColor(MUTED), spaceAfter=16)
HEADING = _style(
    "heading", fontName=BOLD, fontSize=14.5, leading=19, spaceAfter=6, textColor=HexColor(ACCENT)
)
SUBHEADING = _style("subheading", fontName=BOLD, fontSize=9.5, leading=13, spaceBefore=9, spaceAfter=4)
BULLET = _style("bullet", leftIndent=10, bulletIndent=1, spaceAfter=4)
TILE_NUMBER = _style("tile number", fontName=BOLD, fontSize=15, leading=19, textColor=HexColor(ACCENT))
TILE_WORDS = _style("tile words", fontSize=7.2, leading=9.5, textColor=HexColor(MUTED))

TABLE = TableStyle([
    ("LINEBELOW", (0, 0), (-1, 0), 0.8, HexColor(ACCENT)),
    ("LINEBELOW", (0, 1), (-1, -1), 0.4, HexColor(RULE)),
    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ("TOPPADDING", (0, 0), (-1, -1), 2.6),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 3.2),
])  # fmt: skip
FACTS = TableStyle([
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor(RULE)),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 6),
    ("TOPPADDING", (0, 0), (-1, -1), 3),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 3.4),
])  # fmt: skip
TILES = TableStyle([
    ("BACKGROUND", (0, 0), (-1, -1), HexColor(FAINT)),
    ("LINEABOVE", (0, 0), (-1, 0), 1.6, HexColor(ACCENT)),
    ("LINEAFTER", (0, 0), (-2, -1), 4, HexColor("#FFFFFF")),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 9),
    ("RIGHTPADDING", (0, 0), (-1, -1), 7),
    ("TOPPADDING", (0, 0), (-1, -1), 7),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
])  # fmt: skip
PLAIN = TableStyle([
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 0),
    ("TOPPADDING", (0, 0), (-1, -1), 0),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
])  # fmt: skip
