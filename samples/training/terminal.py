"""How a demonstration ends on a terminal."""

from __future__ import annotations

from collections.abc import Callable

from samples.training.command_line import USER_ERRORS
from samples.training.progress import console


def exit_status(run: Callable[[], object]) -> int:
    """Run; a problem of the user's is one message with exit status 2, Ctrl-C is 130."""
    try:
        run()
    except USER_ERRORS as error:
        console.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("\nInterrupted; the same command goes on from the last completed epoch.")
        return 130
    return 0
