"""Regular expressions in scopes: whether they are valid, and whether matching them ends in reasonable time.

Python's `re` backtracks: where a repetition can read the same text in two ways, as in ``(a+)+``, each further character
doubles the time. That is decided before anything is matched, on the automaton of the expression: its positions (places
where one character is read) and the steps from one to the next, with how many ways lead through each step (Weideman et
al., "Analyzing Matching Time Behavior of Backtracking Regular Expression Matchers by Using Ambiguity of NFA", 2016).

Imports nothing but the standard library.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

if sys.version_info >= (3, 11):
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_parse as parser

REGEX_MARK = "{re}"
_ALPHABET = frozenset(range(128))
_WIDE = 64  # of these characters: so many that names consist of them
_COPIES = 8  # a counted repetition stands for as many copies at most; longer ones count as endless
_CHAIN = 3  # endless repetitions of almost any character, one behind the other
_POSITIONS = 600
_AMBIGUOUS = "a regular expression without repetitions inside each other, which can take for ever"
_CATEGORIES = {
    f"CATEGORY_{prefix}{name}": frozenset(code for code in _ALPHABET if re.match(pattern, chr(code)))
    for name, small, large in (("DIGIT", r"\d", r"\D"), ("SPACE", r"\s", r"\S"), ("WORD", r"\w", r"\W"))
    for prefix, pattern in (("", small), ("NOT_", large))
}
# First and last positions of a part, and whether it can be empty.
Part = tuple[list[int], list[int], bool]


def scope_problem(scope: str) -> tuple[str, str] | None:
    """What is wrong with a scope of NNCF: what is allowed, and what to do; None where nothing is."""
    if REGEX_MARK not in scope:
        return None
    pattern = scope.replace(REGEX_MARK, "")
    try:
        re.compile(pattern)
        tree = parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"a valid regular expression behind {REGEX_MARK} ({error})", "Correct it"
    automaton = _Automaton(tree)
    if len(automaton.characters) > _POSITIONS:
        return f"a regular expression of at most {_POSITIONS} characters", "Shorten it, or give several scopes"
    if automaton.is_ambiguous():
        return _AMBIGUOUS, 'Repeat once only, such as "a+" for "(a+)+"'
    if automaton.longest_chain() >= _CHAIN:
        return "a regular expression without .*.*.*, which takes very long", "Write .* once"
    return None


class _Automaton:
    """Positions of an expression and of what it looks ahead to, and the steps between them.

    Attributes:
        characters: The characters that each position reads.
        ways: How many ways lead from one position to another.
    """

    def __init__(self, tree: Any) -> None:
        self.characters: list[frozenset[int]] = []
        self.ways: Counter[tuple[int, int]] = Counter()
        self._sequence(tree)

    def _join(self, before: Iterable[int], behind: Iterable[int]) -> None:
        behind = list(behind)
        self.ways.update((start, end) for start in before for end in behind)

    def _sequence(self, tree: Any) -> Part:
        first: list[int] = []
        last: list[int] = []
        empty = True
        for operation, argument in tree:
            next_first, next_last, next_empty = self._part(str(operation), argument)
            self._join(last, next_first)
            first = first + next_first if empty else first
            last = last + next_last if next_empty else next_last
            empty = empty and next_empty
        return first, last, empty

    def _part(self, operation: str, argument: Any) -> Part:
        if operation in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            self.characters.append(_characters(operation, argument))
            position = [len(self.characters) - 1]
            return position, position, False
        if operation in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            return self._repeat(*argument)
        if operation == "SUBPATTERN":
            return self._sequence(argument[-1])
        if operation == "ATOMIC_GROUP":
            return self._sequence(argument)
        if operation in ("BRANCH", "GROUPREF_EXISTS"):
            branches = argument[1] if operation == "BRANCH" else argument[1:]
            parts = [self._sequence(branch) for branch in branches if branch is not None]
            first = [position for part in parts for position in part[0]]
            last = [position for part in parts for position in part[1]]
            return first, last, operation != "BRANCH" or any(part[2] for part in parts)
        if operation in ("ASSERT", "ASSERT_NOT"):
            self._sequence(argument[1])  # an automaton of its own, which nothing leads to
        return [], [], True  # reads no character of its own

    def _repeat(self, least: int, most: int, body: Any) -> Part:
        endless = most > _COPIES
        copies = max(1, min(least, _COPIES)) if endless else most
        first: list[int] = []
        last: list[int] = []
        empty = True
        for copy in range(copies):
            if len(self.characters) > _POSITIONS:
                break
            part_first, part_last, part_empty = self._sequence(body)
            part_empty = part_empty or copy >= least
            self._join(last, part_first)
            first = first + part_first if empty else first
            last = last + part_last if part_empty else part_last
            empty = empty and part_empty
            if endless and copy == copies - 1:
                self._join(part_last, part_first)
        return first, last, empty

    def _reachable(self) -> list[int]:
        """For each position, the ones that it leads to, as bits of a number."""
        count = len(self.characters)
        reach = [0] * count
        for start, end in self.ways:
            reach[start] |= 1 << end
        for middle in range(count):
            for start in range(count):
                if reach[start] >> middle & 1:
                    reach[start] |= reach[middle]
        return reach

    def is_ambiguous(self) -> bool:
        """Whether a text can lead from a position back to itself in two ways."""
        reach = self._reachable()
        inside = {(start, end): ways for (start, end), ways in self.ways.items() if reach[end] >> start & 1}
        if any(ways > 1 for ways in inside.values()):
            return True
        following: dict[int, list[int]] = {}
        preceding: dict[int, list[int]] = {}
        for start, end in inside:
            following.setdefault(start, []).append(end)
            preceding.setdefault(end, []).append(start)
        seen: set[int] = set()
        for position in following:
            if position in seen:
                continue
            ahead, back = self._pairs(position, following), self._pairs(position, preceding)
            seen |= {one for one, other in ahead if one == other}
            if any(one != other for one, other in ahead & back):
                return True
        return False

    def _pairs(self, position: int, steps: dict[int, list[int]]) -> set[tuple[int, int]]:
        """Pairs of positions that two readers of one text get to, both beginning at `position`."""
        done = {(position, position)}
        waiting = [(position, position)]
        while waiting:
            one, other = waiting.pop()
            for pair in ((a, b) for a in steps.get(one, ()) for b in steps.get(other, ())):
                if pair not in done and self.characters[pair[0]] & self.characters[pair[1]]:
                    done.add(pair)
                    waiting.append(pair)
        return done

    def longest_chain(self) -> int:
        """Number of endless repetitions of almost any character that stand one behind the other."""
        loops = [p for p, codes in enumerate(self.characters) if len(codes) >= _WIDE and self.ways[p, p]]
        length: dict[int, int] = {}
        for loop in reversed(loops):  # steps lead from lower to higher positions, but in loops
            behind = [length[other] for other in loops if other > loop and self.ways[loop, other]]
            length[loop] = 1 + max(behind, default=0)
        return max(length.values(), default=0)


def _characters(operation: str, argument: Any) -> frozenset[int]:
    """Characters of ASCII that one position reads."""
    if operation == "ANY":
        return _ALPHABET - {ord("\n")}
    if operation in ("LITERAL", "NOT_LITERAL"):
        codes = frozenset({argument}) & _ALPHABET
        return codes if operation == "LITERAL" else _ALPHABET - codes
    codes, negated = frozenset(), False
    for kind, value in argument:
        if str(kind) == "NEGATE":
            negated = True
        elif str(kind) == "LITERAL":
            codes |= {value}
        elif str(kind) == "RANGE":
            codes |= _ALPHABET & frozenset(range(value[0], min(value[1], 127) + 1))
        else:
            codes |= _CATEGORIES.get(str(kind) if str(kind) in _CATEGORIES else str(value), _ALPHABET)
    codes &= _ALPHABET
    return _ALPHABET - codes if negated else codes
