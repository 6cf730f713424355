"""Settings that a command asks for where no flag states them and a person sits at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nncf_slb.errors import SettingError

_NO_DEFAULT = ""


@dataclass(frozen=True)
class Question:
    """One setting.

    Attributes:
        flag: Its flag, for messages.
        text: The question.
        read: Gives the setting from what was typed, or a ValueError.
        allowed: What can be typed, for messages.
        default: What stands for an empty answer; empty where there is none.
    """

    flag: str
    text: str
    read: Callable[[str], Any]
    allowed: str
    default: str = _NO_DEFAULT


def one_of(*choices: str) -> Callable[[str], Any]:
    """Reads one of some words; those that are whole numbers become numbers."""

    def read(text: str) -> Any:
        if text not in choices:
            raise ValueError(text)
        return int(text) if text.isdigit() else text

    return read


def answer(question: Question, stated: str | None, asks: bool) -> Any:
    """A setting: as stated, else as typed, else its default.

    Args:
        question: What to ask.
        stated: What the flag says; None without it.
        asks: Whether a person can be asked.

    Raises:
        SettingError: If what is stated is not allowed, or nothing is stated, asked or usual.
    """
    if stated is None and asks:
        return _asked(question)
    text = question.default if stated is None else stated
    try:
        return question.read(text)
    except ValueError:
        received = f"received {text}" if text else "received none"
        raise SettingError(f"{question.flag}: {received}; allowed: {question.allowed}") from None


def _asked(question: Question) -> Any:
    default = f" [{question.default}]" if question.default else ""
    while True:
        print(f"{question.text} ({question.allowed}){default}: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise SettingError(f"{question.flag}: the input ended before it was answered; nothing was written")
        try:
            return question.read(line.strip() or question.default)
        except ValueError:
            print(f"  allowed: {question.allowed}", file=sys.stderr)
