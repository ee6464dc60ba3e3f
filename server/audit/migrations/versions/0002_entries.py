"""The chain of entries, operators' orders, checkpoints, and more that is known of rounds and clients."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the new tables and columns; what was written before has no entry."""
    op.create_table(
        "entries",
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("rounds", sa.Integer),
        sa.Column("other", sa.Integer),
        sa.Column("round", sa.Integer),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("entry", sa.Integer),
        sa.Column("result", sa.Text),
    )
    op.create_table(
        "checkpoints",
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("entry", sa.Integer, primary_key=True),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("memory", sa.String(64), nullable=False),
    )
    op.add_column("runs", sa.Column("place", sa.Text))
    op.add_column("rounds", sa.Column("entry", sa.Integer))
    op.add_column("rounds", sa.Column("rolled_back", sa.Text))
    op.add_column("rounds", sa.Column("quarantined", sa.JSON))
    op.add_column("rounds", sa.Column("standings", sa.JSON))
    op.add_column("rounds", sa.Column("evidence", sa.JSON))
    op.add_column("rounds", sa.Column("updates", sa.String(64)))
    op.add_column("verdicts", sa.Column("node", sa.String(64)))
    op.add_column("verdicts", sa.Column("name", sa.Text))
    op.add_column("verdicts", sa.Column("digest", sa.String(64)))
    op.add_column("verdicts", sa.Column("manifest", sa.JSON))
    op.add_column("metrics", sa.Column("entry", sa.Integer))
