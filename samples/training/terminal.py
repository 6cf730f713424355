"""How a command of a sample ends on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

import nncf_slb
from samples.training import interruption
from samples.training.checkpoint import CheckpointError
from samples.training.data import DatasetError
from samples.training.processes import ProcessesError
from samples.training.progress import console
from samples.training.recipes import RecipeError
from samples.training.run_folder import FolderError
from samples.training.settings import SettingsError
from samples.training.trainer import TrainingError

USER_ERRORS = (
    RecipeError, SettingsError, DatasetError, CheckpointError, TrainingError, FolderError, ProcessesError,
    nncf_slb.SLBError,
)  # fmt: skip


def exit_status(run: Callable[[], object], advice: str = "the same command goes on with what it had saved.") -> int:
    """Run; a problem of the user's is one message with exit status 2, Ctrl-C is 130, SIGTERM 143.

    Args:
        run: What to do.
        advice: What to do after an interruption.
    """
    try:
        with interruption.raised():
            run()
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: '{error.filename or 'a file'}': {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        console.print(f"\nInterrupted; {advice}", highlight=False, markup=False, soft_wrap=True)
        return getattr(error, "status", 130)
    return 0
