"""Reading a document whose shape must be right, with errors that name the place and the nearest known key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.core.errors import KubeproofError


class DocumentError(KubeproofError):
    """A document is not of the shape that it must have."""


class Section:
    """A mapping in a document, read key by key; ``close`` refuses what was not read.

    Errors name the file and the path of keys, as in ``components.yml: components.etcd.go.tags``.
    """

    def __init__(self, source: str, path: str, value: Any) -> None:
        self._source = source
        self._path = path
        if not isinstance(value, Mapping):
            raise self._error("", f"must be a mapping, not {value!r}")
        self._value: Mapping[str, Any] = value
        self._read: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._value

    def text(self, key: str, default: str | None = None) -> str:
        """A text; numbers are refused, since YAML reads a version like ``1.10`` as 1.1."""
        value = self._get(key, default)
        if not isinstance(value, str) or not value:
            raise self._error(key, f"must be a text (quote it if it looks like a number), not {value!r}")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._error(key, f"must be a whole number, not {value!r}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._error(key, f"must be true or false, not {value!r}")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts."""
        value = self._get(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise self._error(key, f"must be a list of texts, not {value!r}")
        return tuple(value)

    def mapping_of_texts(self, key: str, default: Mapping[str, str] | None = None) -> dict[str, str]:
        """A mapping from text to text."""
        value = self._get(key, default)
        if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
            raise self._error(key, f"must be a mapping from text to text, not {value!r}")
        return {str(name): item for name, item in value.items()}

    def section(self, key: str) -> Section:
        """A mapping inside this one."""
        return Section(self._source, self._join(key), self._get(key, None))

    def optional_section(self, key: str) -> Section | None:
        """A mapping inside this one, or None if the key is not there."""
        return self.section(key) if key in self._value else None

    def sections(self, key: str) -> Iterator[Section]:
        """The mappings in a list; nothing if the key is not there."""
        value = self._get(key, ())
        if not isinstance(value, list | tuple):
            raise self._error(key, f"must be a list of mappings, not {value!r}")
        for index, item in enumerate(value):
            yield Section(self._source, f"{self._join(key)}[{index}]", item)

    def named_sections(self) -> Iterator[tuple[str, Section]]:
        """Every key of this mapping, each a mapping itself."""
        for key in self._value:
            yield str(key), self.section(key)

    def close(self) -> None:
        """Refuse keys that nobody asked for: they are misspelt, or mean something to a later version only."""
        for key in self._value:
            if key not in self._read:
                near = difflib.get_close_matches(str(key), sorted(self._read), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(self._read))}"
                raise self._error(str(key), f"is not known here{hint}")

    def fail(self, key: str, problem: str) -> DocumentError:
        """An error about one key, to be raised by the caller."""
        return self._error(key, problem)

    def _get(self, key: str, default: Any) -> Any:
        self._read.add(key)
        if key in self._value:
            return self._value[key]
        if default is None:
            raise self._error(key, "is missing")
        return default

    def _join(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path and key else self._path or key

    def _error(self, key: str, problem: str) -> DocumentError:
        return DocumentError(f"{self._source}: {self._join(key)} {problem}")
