"""Measurements, their labels and their repeats.

A migration keeps the schema of its day: it names plain column types, not those of `types`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "measurements",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("parity", sa.Text()),
        sa.Column("peak_memory", sa.Float(53)),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("validity", sa.Text()),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
    )
    op.create_index("ix_measurements_created", "measurements", ["created"])
    op.create_index("ix_measurements_sha256", "measurements", ["sha256"])
    op.create_table(
        "labels",
        sa.Column("measurement", sa.String(36), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["measurement"],
            ["measurements.id"],
            name="fk_labels_measurement",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_labels_measurement", "labels", ["measurement"])
    op.create_table(
        "repeats",
        sa.Column("measurement", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("median", sa.Float(53)),
        sa.Column("samples", sa.LargeBinary()),
        sa.Column("warmup", sa.LargeBinary(), nullable=False),
        sa.Column("timings", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("faults", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["measurement"],
            ["measurements.id"],
            name="fk_repeats_measurement",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("measurement", "number", name="pk_repeats"),
    )
