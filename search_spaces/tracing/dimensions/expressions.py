"""Whole numbers that are the largest of many: each knows the expression of sizes that it comes from.

Code that adds and multiplies the numbers of one network works out those of all others on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from .layouts import Layout, Size, full_size

Term = tuple[int, tuple[Layout, ...]]
"""A factor, and sizes that it is multiplied with."""


class Amount(int):
    """The value for the largest network; the sum of its terms for any other."""

    terms: tuple[Term, ...]

    def __new__(cls, terms: Iterable[Term]) -> Amount:
        several = tuple(terms)
        self = super().__new__(cls, sum(factor * math.prod(map(full_size, sizes)) for factor, sizes in several))
        self.terms = several
        return self

    def __add__(self, other: int) -> Amount:
        return Amount((*self.terms, *terms_of(other)))

    __radd__ = __add__

    def __mul__(self, other: int) -> Amount:
        return Amount((left * right, (*sizes, *more)) for left, sizes in self.terms for right, more in terms_of(other))

    __rmul__ = __mul__


def terms_of(number: int) -> tuple[Term, ...]:
    """The terms of an amount; those of a plain number are itself."""
    return number.terms if isinstance(number, Amount) else ((int(number), ()),) if number else ()


def product(layouts: Iterable[Layout], factor: int = 1) -> Amount:
    """The product of sizes."""
    return Amount([(factor, tuple(layouts))])


def layouts_in(number: int) -> Iterator[Layout]:
    """Dimensions whose sizes a number depends on."""
    for _, sizes in terms_of(number):
        yield from sizes


def value_of(number: int, size: Callable[[Layout], int | Size]) -> int | Size:
    """A number in other networks, where dimensions have these sizes."""
    if not isinstance(number, Amount):
        return number
    total: int | Size = 0
    for factor, sizes in number.terms:
        part: int | Size = factor
        for layout in sizes:
            part = part * size(layout)
        total = total + part
    return total
