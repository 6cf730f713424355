"""Keeps NNCF's notices that a user can do nothing about off the console."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings


def quieten() -> None:
    """Hide the deprecation notice of `create_compressed_model` and progress lines; warnings and errors stay."""
    warnings.filterwarnings("ignore", message="(?s).*create_compressed_model.*deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if importlib.util.find_spec("nncf") is not None:
        importlib.import_module("nncf")  # makes its logger, of a class of its own, under a name that is still free
    logging.getLogger("nncf").setLevel(logging.WARNING)
