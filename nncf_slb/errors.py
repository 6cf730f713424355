"""The base class of the package's errors, and texts from outside as parts of their messages."""


class SLBError(Exception):
    """Any error that this package raises for what its user gave; the message says what to do."""


class SettingError(SLBError, ValueError):
    """An argument of a function or command that cannot be used."""


class DataError(SLBError, ValueError):
    """Data that a network cannot take, or a network whose outputs do not count the samples that it takes."""


class DeviceError(SLBError, RuntimeError):
    """A device that cannot compile or run a network."""


def printable(text: object) -> str:
    """A text on one line, such as a file's name: line breaks, control characters and what is no UTF-8 as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in str(text)
    )
