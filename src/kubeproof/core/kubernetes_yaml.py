"""YAML as Kubernetes reads it (sigs.k8s.io/yaml), which is neither YAML 1.1, as PyYAML reads it, nor 1.2."""

from __future__ import annotations

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_INT, _FLOAT = f"{_TAG}int", f"{_TAG}float"
# Replaced by ours below, and what there is none of: ``=`` and dates are texts.
_NOT_TAKEN = {_INT, _FLOAT, f"{_TAG}timestamp", f"{_TAG}value"}
_OCTAL = re.compile(r"([-+]?)0([0-7]+)")
# From this on, Go writes floats of JSON with an exponent.
_LARGE = 1e21


class Loader(yaml.SafeLoader):
    """No numbers of base 60; ``1e3`` and ``0o17`` are numbers; what looks like a date is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [each for each in resolvers if each[0] not in _NOT_TAKEN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """Also in the base that the prefix says. Raises ConstructorError for what is no integer."""
        text = str(self.construct_scalar(node)).replace("_", "")
        octal = _OCTAL.fullmatch(text)
        try:
            return int(f"{octal[1]}0o{octal[2]}" if octal else text, 0)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """An integer if it is one, as JSON is to have it. Raises ConstructorError for what is no number."""
        text = str(self.construct_scalar(node)).replace("_", "")
        try:
            number = float(re.sub(r"\.(inf|nan)$", r"\1", text, flags=re.IGNORECASE))
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error
        return int(number) if number.is_integer() and abs(number) < _LARGE else number


# In this order: what is an integer is also a number.
Loader.add_implicit_resolver(
    _INT,
    re.compile(r"[-+]?(?:0[bB]_*[01][01_]*|0[xX]_*[0-9a-fA-F][0-9a-fA-F_]*|0[oO]?[0-7_]*[0-7]_*|0_*|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
Loader.add_constructor(_INT, Loader.construct_integer)
Loader.add_constructor(_FLOAT, Loader.construct_number)


def load_all(text: str) -> list[Any]:
    """All documents of a text that are not empty. Raises YAMLError."""
    return [document for document in yaml.load_all(text, Loader) if document]
