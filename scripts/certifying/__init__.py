"""Certificates: updates to record, hostile rows to try, and the search for the worst of them."""
