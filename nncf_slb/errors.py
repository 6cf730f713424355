"""The base class of the package's errors."""


class SLBError(Exception):
    """Any error that this package raises for what its user gave; the message says what to do."""
