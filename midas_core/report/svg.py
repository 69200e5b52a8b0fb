"""Matplotlib figures as inline SVG that takes its colours from the page."""

from __future__ import annotations

import re
from html import escape
from io import StringIO

from matplotlib.figure import Figure

from midas_core.diagnostics.plots import GRID, INK, METHODS, MODALITIES, MUTED, PLAIN, style

VARIABLES = {INK: "ink", MUTED: "muted", GRID: "line", PLAIN: "plain"}
VARIABLES |= {color: f"m{i}" for i, color in enumerate(MODALITIES)}
VARIABLES |= {color: f"r{i}" for i, color in enumerate(METHODS)}


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an ``svg`` element; ``name``, unique in the page, is the prefix of every id."""
    buffer = StringIO()
    with style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    # Of the ids only those that are referred to are kept.
    used = set(re.findall(r'(?:url\(|xlink:href=")#([^")]+)', svg))
    # In the tags alone: what stands between them is text, names of runs among it.
    svg = re.sub(r"<[^>]+>", lambda tag: _for_the_page(tag[0], name, used), svg)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    head = f'<svg viewBox="0 0 {size[1]} {size[2]}" role="img" aria-label="{escape(description, quote=True)}">'
    return head + svg[svg.index(">") + 1 :].strip()


def _for_the_page(tag: str, name: str, used: set[str]) -> str:
    """Return a tag with ids, colours and fonts as the page has them."""
    tag = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", tag)
    tag = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", tag)
    tag = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', tag)
    # A hundredth of a point is fine enough.
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    for color, variable in VARIABLES.items():
        tag = tag.replace(color, f"var(--{variable})")
    # The page has a font of its own, and one rule for all lines.
    tag = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", tag)
    tag = re.sub(r"font-family: [^;\"]+;? ?", "", tag)
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", tag)
