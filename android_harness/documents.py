"""Records to and from what JSON can hold."""

from __future__ import annotations

import functools
from typing import Any

from cattrs.preconf.json import make_converter


def to_document(record: Any) -> Any:
    """The record as dictionaries, lists and plain values; moments in ISO 8601."""
    return _converter().unstructure(record)


def from_document(document: Any, kind: Any) -> Any:
    """The record of this kind; fields that the document lacks have their defaults."""
    return _converter().structure(document, kind)


@functools.cache
def _converter() -> Any:
    return make_converter()
