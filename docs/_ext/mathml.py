"""Sphinx extension: mathematics as MathML, which browsers set by themselves, without a network."""

from __future__ import annotations

from docutils import nodes
from latex2mathml.converter import convert


def _inline(writer, node):
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(writer, node):
    made = convert(node.astext(), display="block")
    writer.body.append(f'<div class="wide">{made}</div>')
    raise nodes.SkipNode


def setup(app):
    """Registers the renderer."""
    nothing = None
    app.add_html_math_renderer("mathml", (_inline, nothing), (_block, nothing))
    return {"parallel_read_safe": True}
