"""How an audit database came to its tables, step by step: Alembic runs what is in `versions`."""
