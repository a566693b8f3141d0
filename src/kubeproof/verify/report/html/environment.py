"""What the pages of verifications and of campaigns are rendered with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from kubeproof.verify.report.html.words import count, duration, moment

_STYLES = Path(__file__).parent / "page.css"


def template(directory: Path, filters: Mapping[str, Callable[..., Any]], names: Mapping[str, Any]) -> jinja2.Template:
    """The template of a page: all that is filled in is text, and what is missing is an error.

    ``filters`` and ``names``: those of the page, besides the ones that all have.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "moment": moment, **filters}
    environment.globals |= {"count": count, **names}
    return environment.get_template("page.html.jinja")


def styles(*more: Path) -> Markup:
    """The look of all pages, and style sheets that a page has besides."""
    return Markup("\n".join(path.read_text() for path in (_STYLES, *more)))  # noqa: S704 - ours
