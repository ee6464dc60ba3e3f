"""The server: a Flower ServerApp with settings, and the audit of what it decided."""
