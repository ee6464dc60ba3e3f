"""How often verdicts are wrong, measured."""
