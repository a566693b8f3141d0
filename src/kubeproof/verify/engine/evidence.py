"""What a test has observed: the reason to believe its verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from typing import Any


class Evidence(MutableMapping[str, Any]):
    """A test's record, in the order of observation. ``headline`` is all of it in one line."""

    def __init__(self) -> None:
        self.headline = ""
        self._facts: dict[str, Any] = {}

    def __setitem__(self, key: str, value: Any) -> None:
        try:
            # A copy: what the test does with the value afterwards is not what was observed.
            self._facts[key] = json.loads(json.dumps(value))
        except (TypeError, ValueError) as error:
            raise TypeError(f"evidence {key!r} cannot be written as JSON: {error}") from error

    def __getitem__(self, key: str) -> Any:
        return self._facts[key]

    def __delitem__(self, key: str) -> None:
        del self._facts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __repr__(self) -> str:
        return repr(self._facts)
