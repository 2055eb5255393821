"""The language of -k: words that a cell's name contains, joined by and, or, not and brackets."""

import difflib
import re
from collections.abc import Callable, Sequence

from bench.cell import Cell
from bench.errors import UsageError

DEEPEST = 50  # brackets and nots within each other
_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")

OPERATORS = ("and", "or", "not")
Test = Callable[[str], bool]


def select(
    cells: Sequence[Cell],
    expression: str,
    hint: Callable[[str], str] = lambda word: "",
    *,
    option: str = "-k",
) -> list[Cell]:
    """The cells whose name matches `expression`; all of them for an empty one.

    Args:
        cells: To choose from.
        expression: What -k takes.
        hint: What to do about a word that no cell has, "" where that is not known.
        option: The command-line option that messages name.

    Raises:
        UsageError: The expression is malformed, names a word no cell has, or matches nothing.
    """
    if not expression.strip():
        return list(cells)
    names = [cell.name for cell in cells]
    test = _Parser(expression, names, hint, option).parse()
    chosen = [cell for cell in cells if test(cell.name)]
    if not chosen:
        raise UsageError(f"{option} {expression!r} matches none of the {len(cells)} cells")
    return chosen


class _Parser:
    """Recursive descent: or, then and, then not, then a bracket or a word."""

    def __init__(
        self, expression: str, names: Sequence[str], hint: Callable[[str], str], option: str
    ) -> None:
        self._option = option
        self._expression = expression
        self._names = names
        self._hint = hint
        self._tokens = _TOKEN.findall(expression)
        self._depth = 0

    def parse(self) -> Test:
        test = self._either()
        if self._tokens:
            near = difflib.get_close_matches(self._tokens[0], OPERATORS, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise self._malformed(f"unexpected {self._tokens[0]!r}{hint}")
        return test

    def _either(self) -> Test:
        tests = [self._both()]
        while self._take("or"):
            tests.append(self._both())
        return lambda name: any(test(name) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._take("and"):
            tests.append(self._one())
        return lambda name: all(test(name) for test in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._malformed(f"it is nested more than {DEEPEST} deep")
        test = self._unnested()
        self._depth -= 1
        return test

    def _unnested(self) -> Test:
        if self._take("not"):
            negated = self._one()
            return lambda name: not negated(name)
        if self._take("("):
            inner = self._either()
            if not self._take(")"):
                raise self._malformed("a bracket is not closed")
            return inner
        if not self._tokens or self._tokens[0] in ("and", "or", ")"):
            raise self._malformed("a word is missing")
        return self._word(self._tokens.pop(0))

    def _word(self, word: str) -> Test:
        if not any(word in name for name in self._names):
            known = sorted({part for name in self._names for part in name.split("/")})
            near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            if said := self._hint(word):
                hint = f"{said}; "
            raise UsageError(
                f"{self._option}: no cell has {word!r}: {hint}words are {', '.join(known)}"
            )
        return lambda name: word in name

    def _take(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            self._tokens.pop(0)
            return True
        return False

    def _malformed(self, what: str) -> UsageError:
        return UsageError(
            f"{self._option} {self._expression!r} is malformed: {what}; "
            "write words joined by and, or, not and brackets"
        )
