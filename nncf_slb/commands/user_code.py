"""What the user's own functions and files give to a command."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from nncf_slb.errors import SettingError, printable

SEARCHED_HELP = (
    "MODULE:FUNCTION of your code, called without arguments: returns the controller, or what its strip() returned, "
    "with the weights that were exported. The current folder is searched first"
)

_SHOWN = 8


def called(text: str, argument: str = "model") -> Any:
    """What a function of the user's returns.

    Args:
        text: ``MODULE:FUNCTION``; the current folder is searched first.
        argument: Name of the argument, for messages.

    Raises:
        SettingError: If it cannot be imported or called.
    """
    module, colon, function = text.partition(":")
    if not (module and colon and function):
        raise SettingError(f"{argument}: received {text}; write MODULE:FUNCTION, such as my_project.networks:load")
    if module.endswith(".py"):
        raise SettingError(
            f"{argument}: received {text}, the name of a file; write the module, such as "
            f"{module.removesuffix('.py').replace(os.sep, '.')}:{function}"
        )
    sys.path.insert(0, os.getcwd())
    with _without_arguments(module):
        try:
            imported = importlib.import_module(module)
            make = getattr(imported, function, None)
        except SystemExit as error:
            raise SettingError(
                f"{argument}: received {text}, whose module ends the program (SystemExit {error.code}) when it is "
                'imported; put that under if __name__ == "__main__"'
            ) from error
        except Exception as error:  # whatever the user's module raises
            raise SettingError(f"{argument}: received {text}, which cannot be imported ({_said(error)})") from error
        if not callable(make):
            raise SettingError(f"{argument}: received {text}, but {_what_is_there(imported, function)}")
        try:
            return make()
        except SystemExit as error:
            raise SettingError(f"{argument}: {text} ends the program (SystemExit {error.code})") from error
        except Exception as error:  # whatever the user's function raises
            raise SettingError(f"{argument}: {text} fails ({_said(error)})") from error


def _said(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}")


@contextmanager
def _without_arguments(name: str) -> Iterator[None]:
    """Within it, the command line is that of a program without arguments, as far as the user's code can see."""
    arguments, sys.argv = sys.argv, [name]
    try:
        yield
    finally:
        sys.argv = arguments


def _what_is_there(module: ModuleType, name: str) -> str:
    """Why a name of a module cannot be called, and what can."""
    if hasattr(module, name):
        return f"{name} is no function, but of type {type(getattr(module, name)).__name__}"
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    callables = [key for key in own if callable(getattr(module, key)) and not key.startswith("_")]
    near = difflib.get_close_matches(name, callables, 1)
    advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(callables[:_SHOWN]) or 'none'}"
    return f"{module.__name__} has no function {name}; {advice}"


def searched_network(text: str) -> Any:
    """The stripped network that a function of the user's gives.

    Raises:
        SettingError: If it gives none.
    """
    from nncf_slb.openvino.stripped_network import stripped_network

    made = called(text)
    try:
        return stripped_network(made)
    except Exception as error:  # what the user's network raises
        raise SettingError(f"model: {text} gives what cannot be verified ({error})") from error


def read_data(path: Path | None) -> Any:
    """Array of an ``.npy`` file, or arrays of an ``.npz`` file; None without a path.

    Raises:
        SettingError: If it cannot be read.
    """
    import numpy as np

    if path is None:
        return None
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return tuple(loaded[name] for name in loaded.files) if hasattr(loaded, "files") else loaded
    except Exception as error:  # zip, its compression and NumPy's format have errors of their own
        raise SettingError(
            f"--data: {printable(path)} is no readable .npy or .npz file ({printable(error)})"
        ) from error
