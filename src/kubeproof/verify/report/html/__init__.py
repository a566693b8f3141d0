"""A report as one page of HTML that needs nothing else: ``render`` is a pure function of the report's document."""

from kubeproof.verify.report.html.render import render
from kubeproof.verify.report.html.view import FAMILY

__all__ = ["FAMILY", "render"]
