"""Where measurements are kept: one SQLite file, or a PostgreSQL server for a lab.

    from android_harness.store import open_store
    with open_store("results.sqlite", create=True) as store:
        store.save(measurement)

`database` speaks to the two kinds and puts their faults into one line, `tables` and `migrations`
are the schema, `selectors` is the language in which runs are named, `merging` brings stores
together. Needs the extra `lab`.
"""

from converters.errors import MissingExtraError

try:
    import sqlalchemy as _  # noqa: F401
except ImportError:
    raise MissingExtraError("sqlalchemy", "lab") from None

from .merging import Merged, merge
from .selectors import Selector, parse_selector
from .store import Store, Summary, open_store, summary_of, upgrade_store

__all__ = [
    "Merged",
    "Selector",
    "Store",
    "Summary",
    "merge",
    "open_store",
    "parse_selector",
    "summary_of",
    "upgrade_store",
]
