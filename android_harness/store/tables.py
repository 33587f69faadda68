"""The tables. What is searched has a column; what is only read whole is a document.

A record that gains a field with a default needs no migration: documents hold it, and those that
were written before are read with the default. A change here needs one in `migrations/versions`
and another HEAD.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

from ..records import (
    Conditions,
    DeviceInfo,
    Options,
    ParityOnDevice,
    ProfileRow,
    Subject,
    Timings,
)
from .types import Document, ExactText, Moment, Times

HEAD = "0001"  # the newest migration

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

measurements = Table(
    "measurements",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("created", Moment, nullable=False, index=True),
    # Copies of what the documents say, for searching.
    Column("name", ExactText, nullable=False),
    Column("sha256", ExactText, nullable=False, index=True),
    Column("target", ExactText, nullable=False),
    Column("precision", ExactText, nullable=False),
    Column("serial", ExactText, nullable=False),
    Column("backend", ExactText, nullable=False),
    Column("subject", Document(Subject), nullable=False),
    Column("device", Document(DeviceInfo), nullable=False),
    Column("options", Document(Options), nullable=False),
    Column("parity", Document(ParityOnDevice)),
    Column("peak_memory", Float(53)),  # MiB
    Column("profile", Document(tuple[ProfileRow, ...]), nullable=False),
    Column("validity", Text),  # NULL while repeats are missing
    Column("reasons", Document(tuple[str, ...]), nullable=False),
)


labels = Table(
    "labels",
    metadata,
    Column(
        "measurement",
        ForeignKey("measurements.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("key", ExactText, nullable=False),
    Column("value", ExactText, nullable=False),
)

repeats = Table(
    "repeats",
    metadata,
    Column("measurement", ForeignKey("measurements.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("median", Float(53)),  # ms; kept, so that a list need not unpack all samples
    Column("samples", Times),  # ms; NULL if the tool does not give them
    Column("warmup", Times, nullable=False),  # ms
    Column("timings", Document(Timings), nullable=False),  # all but the two before
    Column("before", Document(Conditions), nullable=False),
    Column("after", Document(Conditions), nullable=False),
    Column("faults", Document(tuple[str, ...]), nullable=False),
)
