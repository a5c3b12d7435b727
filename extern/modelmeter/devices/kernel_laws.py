"""The kernels of many pages from a few walks: sizes as polynomials, evaluated for all pages at once.

A stage is walked over variables, its records kept, once for each path that it can take (`modelmeter.sizes`). What comes
of it is a law: equal kernels with their number and their sizes, all polynomials, and the conditions under which they
hold. Numbers are floats here: beyond 2**53 a count is rounded, which no time can tell. Sizes are whole, so those that
a division would leave a rest of are rounded back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from modelmeter.kernels import Counted, Kernel, tabulated
from modelmeter.shape_tensor import Tape
from modelmeter.sizes import Size, Variables, factors, holding
from modelmeter.walk import Walk

Array = Any
#: laws by what may share them, the newest first; a model keeps its own
TimeLaws = dict[Hashable, tuple[Any, ...]]

#: laws of one kind that are kept; the oldest is forgotten
LAWS_KEPT = 256
#: numbers that one evaluation makes at once
MOST_AT_ONCE = 2**21


class Kernels(NamedTuple):
    """Kernels of one class and type, K of them, for N pages: their number and each size as [N, K]."""

    kernel_class: str
    dtype: str
    count: Array
    sizes: Mapping[str, Array]


class KernelLaw:
    """The kernels of a stage as a function of its variables, where it holds."""

    def __init__(self, walk: Walk, variables: Variables) -> None:
        groups: dict[tuple[str, str], list[Counted]] = {}
        for each in tabulated(walk):
            groups.setdefault((each.kernel.kernel_class, each.kernel.dtype), []).append(each)
        self._groups = [(key, list(group[0].kernel.sizes), len(group)) for key, group in groups.items()]
        values = [
            value
            for group in groups.values()
            for row in zip(*((each.count, *each.kernel.sizes.values()) for each in group), strict=True)
            for value in row
        ]
        polynomials = [value.terms if isinstance(value, Size) else {0: value} for value in values]
        products = sorted({product for terms in polynomials for product in terms})
        place = {product: index for index, product in enumerate(products)}
        self._factors = [factors(product) for product in products]
        self._coefficients = np.zeros((len(products), len(values)))
        for column, terms in enumerate(polynomials):
            for product, coefficient in terms.items():
                self._coefficients[place[product], column] = float(coefficient)
        self._holds = holding(variables.values, variables.conditions)

    def holds(self, values: Mapping[str, Array]) -> Array:
        """Where all conditions hold; `values`: of each variable an array of int64."""
        return self._holds(**values)

    def at(self, values: Mapping[str, Array], number: int) -> Iterator[tuple[slice, list[Kernels]]]:
        """The kernels of `number` pages, some pages at a time: which, and what they run."""
        most = max(MOST_AT_ONCE // max(self._coefficients.shape[1], 1), 1)
        for start in range(0, number, most):
            part = slice(start, min(start + most, number))
            yield part, self._at({name: each[part].astype(float) for name, each in values.items()}, part.stop - start)

    def _at(self, values: Mapping[str, Array], number: int) -> list[Kernels]:
        products = np.ones((number, len(self._factors)))
        for column, exponents in enumerate(self._factors):
            for name, exponent in exponents.items():
                products[:, column] *= values[name] ** exponent
        numbers = np.rint(products @ self._coefficients)
        found, start = [], 0
        for (kernel_class, dtype), names, several in self._groups:
            parts = []
            for _ in range(1 + len(names)):
                parts.append(numbers[:, start : start + several])
                start += several
            found.append(Kernels(kernel_class, dtype, parts[0], dict(zip(names, parts[1:], strict=True))))
        return found


def single(kernel: Kernel) -> Kernels:
    """One kernel of one page."""
    sizes = {name: np.full((1, 1), float(size)) for name, size in kernel.sizes.items()}
    return Kernels(kernel.kernel_class, kernel.dtype, np.ones((1, 1)), sizes)


def kernels_of(walk: Walk) -> list[Kernels]:
    """The kernels of a walk of one page."""
    ((_, kernels),) = KernelLaw(walk, Variables()).at({}, 1)
    return kernels


def evaluated(
    laws: TimeLaws, kind: Hashable, values: Mapping[str, Array], number: int, walk: Callable[[int, Tape], Walk]
) -> Iterator[tuple[Array, list[Kernels]]]:
    """The kernels of `number` pages of one kind, some pages at a time: their numbers, and what they run.

    values: of each variable an array of int64. walk: a page's stage on a tape over variables; it is asked for pages
    that no law is known for.
    """
    open_pages = np.arange(number)
    for law in laws.get(kind, ()):
        if not len(open_pages):
            return
        held, open_pages = _split(law, values, open_pages)
        yield from _at(law, values, held)
    while len(open_pages):
        page = int(open_pages[0])
        variables = Variables(**{name: int(each[page]) for name, each in values.items()})
        law = KernelLaw(walk(page, Tape(variables=variables, keeps_records=True)), variables)
        laws[kind] = (law, *laws.get(kind, ())[: LAWS_KEPT - 1])
        held, open_pages = _split(law, values, open_pages)
        if not len(held) or held[0] != page:
            raise AssertionError(f"kernel laws: that of {kind} does not hold where it was found")
        yield from _at(law, values, held)


def _split(law: KernelLaw, values: Mapping[str, Array], pages: Array) -> tuple[Array, Array]:
    """The pages that a law holds for, and the others."""
    holds = np.broadcast_to(law.holds({name: each[pages] for name, each in values.items()}), len(pages))
    return pages[holds], pages[~holds]


def _at(law: KernelLaw, values: Mapping[str, Array], pages: Array) -> Iterator[tuple[Array, list[Kernels]]]:
    for part, kernels in law.at({name: each[pages] for name, each in values.items()}, len(pages)):
        yield pages[part], kernels
