"""The search for the attack that does a defense most harm: what may be tried, the search, and what it found."""
