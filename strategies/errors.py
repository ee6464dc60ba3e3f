"""Every error Hawthorn raises on purpose.

Bad input from a *client* is data: it is refused with a reason and never raised. These are for callers and operators.
"""


class HawthornError(Exception):
    """Anything Hawthorn raises on purpose."""


class UpdateError(HawthornError, ValueError):
    """Updates that are no `(n, d)` matrix of finite floating-point numbers; names the rows."""


class ToleranceError(HawthornError, ValueError):
    """More hostile clients than a rule can tolerate; names rule, n, f and the limit."""


class SettingError(HawthornError, ValueError):
    """A name or option that does not exist or has a wrong value; says what to write instead."""


class OptionError(SettingError, TypeError):
    """An unknown or missing keyword of a Python call."""


class AuditError(HawthornError):
    """A record that cannot be written, read or believed."""


class ServiceError(HawthornError):
    """A service of another process that cannot be reached, or that refused; says which and why."""
