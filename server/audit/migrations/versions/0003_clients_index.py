"""An index by which clients are counted, and their rounds found, without reading every verdict."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Put the wider index in the place of the one by client alone."""
    op.create_index("ix_verdicts_by_client", "verdicts", ["run", "client", "round", "admitted", "accepted"])
    op.drop_index("ix_verdicts_client", "verdicts")
