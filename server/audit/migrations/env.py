"""What Alembic runs the steps with: the connection that it was given, and its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
