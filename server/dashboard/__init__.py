"""The page that an operator leaves open: runs as they happen, from the audit, and orders to them."""
