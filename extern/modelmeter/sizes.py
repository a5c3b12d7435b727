"""Sizes that may vary: one walk that answers for every value of them.

A walk does integer arithmetic on sizes and decides by comparing them. Where a `Size` stands for an int, every result
is, beside its value at hand, a polynomial in the variables, and every comparison whose outcome the variables could
change is noted as a condition on them. Wherever all conditions hold, a walk would take the same path operator by
operator, so its figures there are exactly the polynomials' values: nothing is fitted, nothing is rounded.

A `Size` is no `int`: what has no rule here (a root, a product with a float) fails instead of losing the variable. What
needs the number itself (`int`, `range`) takes it and notes its value as a condition. Variables are 1 or more.

    >>> variables = Variables(rows=3)
    >>> tokens = variables.size("rows") * 10 + 1
    >>> tokens > 20, value_of(tokens, Variables(rows=5)), Variables(rows=1).hold(variables.conditions)
    (True, 51, False)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import lru_cache, wraps
from math import gcd, lcm
from numbers import Number
from operator import eq, ge, lt, ne
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from modelmeter.errors import ModelMeterError

#: bits that hold a variable's exponent in a product of variables, which is one int: products add
_EXPONENT_BITS: Final = 16
_EXPONENT_MASK: Final = 2**_EXPONENT_BITS - 1

#: coefficients by product of variables; a Fraction where a number was divided under a known remainder
Terms = dict[int, Any]

ZERO: Final = "=="
NOT_ZERO: Final = "!="
NEGATIVE: Final = "<"
NOT_NEGATIVE: Final = ">="
_OUTCOMES: Final[Mapping[str, Callable[[Any, int], bool]]] = {ZERO: eq, NOT_ZERO: ne, NEGATIVE: lt, NOT_NEGATIVE: ge}

#: the variables there are; a walk uses some of them, and walks share what they remember by them
_names: list[str] = []


def _product(name: str) -> int:
    if name not in _names:
        _names.append(name)
    return 1 << (_EXPONENT_BITS * _names.index(name))


class Condition(NamedTuple):
    """What a polynomial, or its remainder by a modulus other than 0, must be beside `than` for a walk to hold."""

    terms: tuple[tuple[int, Any], ...]
    outcome: str
    modulus: int = 0
    than: int = 0

    def formula(self) -> str:
        """The same as a Python expression over the variables' names."""
        modulo = f" % {self.modulus}" if self.modulus else ""
        return f"{_formula(self.terms)}{modulo} {self.outcome} {self.than}"

    def holds(self, variables: Variables) -> bool:
        """Whether it is so for these values."""
        value = variables.value(self.terms)
        return _OUTCOMES[self.outcome](value % self.modulus if self.modulus else value, self.than)


class Variables:
    """Variables with their values at hand, and the conditions under which what was decided by them holds."""

    __slots__ = ("_products", "conditions", "values")

    def __init__(self, **values: int) -> None:
        for name, value in values.items():
            if not isinstance(value, int) or value < 1:
                raise ModelMeterError(
                    f"Variables: {name}={value!r} is no number from 1 on, as every size that varies is."
                )
        self.values = values
        self.conditions: dict[Condition, None] = {}  # in the order in which they came up
        self._products = {0: 1} | {_product(name): value for name, value in values.items()}

    def size(self, name: str) -> Any:
        """The variable as a size; it may stand wherever an int may."""
        return Size(self, {_product(name): 1}, self.values[name])

    def value(self, terms: Iterable[tuple[int, Any]]) -> Any:
        """What a polynomial is at these values."""
        products = self._products
        total = 0
        for product, coefficient in terms:
            known = products.get(product)
            total += coefficient * (self._multiplied(product) if known is None else known)
        return total

    def _multiplied(self, product: int) -> int:
        value, rest = 1, product
        for name in _names:
            exponent = rest & _EXPONENT_MASK
            if exponent:
                value *= self.values[name] ** exponent
            rest >>= _EXPONENT_BITS
        self._products[product] = value
        return value

    def hold(self, conditions: Mapping[Condition, None] | tuple[Condition, ...]) -> bool:
        """Whether all conditions hold here."""
        return all(condition.holds(self) for condition in conditions)

    def collect(self) -> dict[Condition, None]:
        """Start a list of conditions of its own; what is returned is the list so far, for `collected`."""
        outer, self.conditions = self.conditions, {}
        return outer

    def collected(self, outer: dict[Condition, None]) -> tuple[Condition, ...]:
        """The conditions since `collect`; they join the list before them."""
        inner = tuple(self.conditions)
        self.conditions = outer | self.conditions
        return inner

    def note(self, terms: Terms, outcome: str, modulus: int = 0, than: int = 0) -> None:
        """Note a condition, in its lowest terms."""
        items = tuple(sorted(terms.items()))
        divisor = 1 if modulus else gcd(*[each.numerator for _, each in items])
        if outcome in (ZERO, NOT_ZERO) and not modulus and items[0][1] < 0:
            divisor = -divisor
        if divisor != 1 and all(type(each) is int for _, each in items):
            items = tuple([(product, each // divisor) for product, each in items])
        self.conditions[Condition(items, outcome, modulus, than)] = None


def _least(left: Any, right: Any) -> Any:
    """A lower bound of left - right over all variables from 1 on: at 1, where only the constant may be negative.

    -1: not plain to see.
    """
    if not isinstance(left, Size):
        if not isinstance(right, Size):
            return left - right
        left_terms: Terms = {0: left}
    else:
        left_terms = left.terms
    right_terms = right.terms if isinstance(right, Size) else {0: right}
    total = 0
    for product, coefficient in left_terms.items():
        more = coefficient - right_terms.get(product, 0)
        if more < 0 and product:
            return -1
        total += more
    for product, coefficient in right_terms.items():
        if product not in left_terms:
            if coefficient > 0 and product:
                return -1
            total -= coefficient
    return total


def _less(left: Any, right: Any) -> bool:
    """Whether left < right, noted where the variables could turn it."""
    if _least(left, right) >= 0:
        return False
    if _least(right, left) > 0:
        return True
    difference: Size = left - right
    less = difference.value < 0
    difference.variables.note(difference.terms, NEGATIVE if less else NOT_NEGATIVE)
    return less


def _over(coefficient: Any, divisor: Any) -> Any:
    """A quotient, as an int where it is whole."""
    quotient = Fraction(coefficient) / divisor
    return quotient.numerator if quotient.denominator == 1 else quotient


def _exact_quotient(dividend: Terms, divisor: Terms) -> Terms | None:
    """The polynomial that times `divisor` is `dividend`, with whole coefficients; None if there is none."""
    lead = max(divisor)
    rest = dict(dividend)
    quotient: Terms = {}
    while rest:
        top = max(rest)
        factor = top - lead
        coefficient = _over(rest[top], divisor[lead])
        if not _divides(lead, top) or not isinstance(coefficient, int):
            return None
        quotient[factor] = coefficient
        for product, each in divisor.items():
            _put(rest, factor + product, rest.get(factor + product, 0) - coefficient * each)
    return quotient


def _divides(product: int, other: int) -> bool:
    """Whether one product of variables is contained in another."""
    while product:
        if (product & _EXPONENT_MASK) > (other & _EXPONENT_MASK):
            return False
        product >>= _EXPONENT_BITS
        other >>= _EXPONENT_BITS
    return True


def _settled(variables: Variables, terms: Terms, value: int) -> Any:
    """A size, or an int where no variable is left in it."""
    if not terms:
        return 0
    if len(terms) == 1 and 0 in terms:
        return value
    return Size(variables, terms, value)


def _check_same(size: Size, other: Size) -> None:
    """Refuse to mix sizes of two walks: the conditions of one would be lost."""
    if size.variables is not other.variables:
        raise ModelMeterError(f"{size!r} and {other!r} are of different Variables; give a walk one of them.")


def _put(terms: Terms, product: int, coefficient: Any) -> None:
    """Set a coefficient; there is none where it is 0."""
    if coefficient:
        terms[product] = coefficient
    else:
        terms.pop(product, None)


class Size:
    """A whole number that is a polynomial in variables. It has a value at hand, by which comparisons are decided."""

    __slots__ = ("terms", "value", "variables")

    def __init__(self, variables: Variables, terms: Terms, value: int) -> None:
        self.variables = variables
        self.terms = terms
        self.value = value

    def __repr__(self) -> str:
        parts = []
        for product, coefficient in self.terms.items():
            factors = [str(coefficient)] if coefficient != 1 or not product else []
            for position, name in enumerate(_names):
                exponent = product >> (_EXPONENT_BITS * position) & _EXPONENT_MASK
                factors += [name] * exponent
            parts.append(" ".join(factors))
        return f"({' + '.join(parts)} = {self.value})"

    #: equal sizes may differ elsewhere, so no table may take one for the other
    __hash__ = None  # type: ignore[assignment]

    # -- arithmetic -------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        terms = self.terms.copy()
        if isinstance(other, Size):
            _check_same(self, other)
            for product, coefficient in other.terms.items():
                _put(terms, product, terms.get(product, 0) + coefficient)
            return _settled(self.variables, terms, self.value + other.value)
        if not isinstance(other, int):
            return NotImplemented
        _put(terms, 0, terms.get(0, 0) + other)
        return Size(self.variables, terms, self.value + other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Size):
            _check_same(self, other)
            terms = self.terms.copy()
            for product, coefficient in other.terms.items():
                _put(terms, product, terms.get(product, 0) - coefficient)
            return _settled(self.variables, terms, self.value - other.value)
        return self + -other if isinstance(other, int) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __neg__(self) -> Size:
        return Size(self.variables, {product: -each for product, each in self.terms.items()}, -self.value)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Size):
            _check_same(self, other)
            terms: Terms = {}
            for product, coefficient in self.terms.items():
                for other_product, other_coefficient in other.terms.items():
                    both = product + other_product
                    _put(terms, both, terms.get(both, 0) + coefficient * other_coefficient)
            return _settled(self.variables, terms, self.value * other.value)
        if not isinstance(other, int):
            return NotImplemented
        if other == 1:
            return self
        if not other:
            return 0
        return Size(self.variables, {product: each * other for product, each in self.terms.items()}, self.value * other)

    __rmul__ = __mul__

    def __divmod__(self, other: Any) -> Any:
        if isinstance(other, Size):
            quotient = _exact_quotient(self.terms, other.terms)
            if quotient is not None:
                return _settled(self.variables, quotient, self.value // other.value), 0
            return divmod(int(self), int(other))
        if not isinstance(other, int):
            return NotImplemented
        value, remainder = divmod(self.value, other)
        if any(each % other for product, each in self.terms.items() if product):
            self.variables.note(self.terms, ZERO, other, remainder)
        terms = {product: _over(each, other) for product, each in (self - remainder).terms.items()}
        return Size(self.variables, terms, value), remainder

    def __floordiv__(self, other: Any) -> Any:
        return divmod(self, other)[0] if isinstance(other, Size | int) else NotImplemented

    def __mod__(self, other: Any) -> Any:
        return divmod(self, other)[1] if isinstance(other, Size | int) else NotImplemented

    def __rfloordiv__(self, other: Any) -> Any:
        return other // int(self)

    def __rmod__(self, other: Any) -> Any:
        return other % int(self)

    # -- decisions: each notes its condition where the variables could turn it ---------------------------------------

    def __int__(self) -> int:
        self.variables.note((self - self.value).terms if self.value else self.terms, ZERO)
        return self.value

    __index__ = __int__

    def __bool__(self) -> bool:
        return self != 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Size | int):
            if isinstance(other, Number):
                raise TypeError(f"{self!r} cannot be compared with {other!r}: sizes are whole")
            return NotImplemented
        if _least(self, other) > 0 or _least(other, self) > 0:
            return False
        difference = self - other
        if not isinstance(difference, Size):
            return not difference
        equal = difference.value == 0
        self.variables.note(difference.terms, ZERO if equal else NOT_ZERO)
        return equal

    def __lt__(self, other: Any) -> bool:
        return _less(self, other)

    def __ge__(self, other: Any) -> bool:
        return not _less(self, other)

    def __gt__(self, other: Any) -> bool:
        return _less(other, self)

    def __le__(self, other: Any) -> bool:
        return not _less(other, self)


# -- what stands where a number or a size may stand -----------------------------------------------------------------


def value_of(size: Any, variables: Variables) -> int:
    """What a number or a size is for other values of the variables; the conditions are the caller's to hold."""
    return int(variables.value(size.terms.items())) if isinstance(size, Size) else int(size)


def at_hand(size: Any) -> int:
    """The value at hand of a number or a size, for a walk of its own; its conditions are the caller's to note."""
    return size.value if isinstance(size, Size) else size


def _formula(terms: Iterable[tuple[int, Any]]) -> str:
    """A polynomial as a Python expression over the variables' names; where its conditions hold, its value is whole."""
    coefficients = dict(terms)
    divisor = lcm(*[Fraction(each).denominator for each in coefficients.values()])
    parts = []
    for product, coefficient in coefficients.items():
        factors = [str(int(coefficient * divisor))]
        for position, name in enumerate(_names):
            factors += [name] * (product >> (_EXPONENT_BITS * position) & _EXPONENT_MASK)
        parts.append("*".join(factors))
    return f"(({'+'.join(parts)})//{divisor})" if divisor > 1 else f"({'+'.join(parts)})"


def _expression(value: Any) -> str:
    """A number, a size or a text, or a dictionary or tuple of such, as a Python expression."""
    if isinstance(value, Size):
        return _formula(value.terms.items())
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name!r}: {_expression(each)}' for name, each in value.items())}}}"
    if isinstance(value, tuple):
        return f"({''.join(f'{_expression(each)}, ' for each in value)})"
    return repr(value)


def compiled(names: Iterable[str], value: Any, conditions: Iterable[Condition] = ()) -> Callable[..., Any]:
    """A function of the variables `names`: `value`, made of numbers, sizes and texts, for values of theirs.

    It is None where not all conditions hold.
    """
    tests = " and ".join(condition.formula() for condition in conditions)
    return eval(f"lambda {', '.join(names)}: {_expression(value)} if {tests or True} else None")  # type: ignore[no-any-return]


def holding(names: Iterable[str], conditions: Iterable[Condition]) -> Callable[..., Any]:
    """A function of the variables `names`, arrays of whole numbers: where all conditions hold, a truth value each."""
    tests = " & ".join(f"({condition.formula()})" for condition in conditions)
    return eval(f"lambda {', '.join(names)}: {tests or True}")  # type: ignore[no-any-return]


def factors(product: int) -> dict[str, int]:
    """The variables of a product in a size's terms, each with its exponent."""
    exponents = {}
    for position, name in enumerate(_names):
        exponent = product >> (_EXPONENT_BITS * position) & _EXPONENT_MASK
        if exponent:
            exponents[name] = exponent
    return exponents


def rebased(value: Any, variables: Variables) -> Any:
    """`value`, a number, a size, the highest of some or a tuple of such, as one of these variables.

    A tuple that stands in several places stands in as many places of the result.
    """
    known: dict[int, Any] = {}

    def moved(part: Any) -> Any:
        if isinstance(part, Size):
            return Size(variables, part.terms, value_of(part, variables))
        if isinstance(part, Highest):
            return Highest([(moved(size), label) for size, label in part.candidates])
        if not isinstance(part, tuple):
            return part
        if id(part) not in known:
            each = [moved(one) for one in part]
            known[id(part)] = type(part)(*each) if hasattr(part, "_fields") else tuple(each)
        return known[id(part)]

    return moved(value)


def frozen(value: Any) -> Any:
    """`value`, a tuple of tuples, with sizes as their polynomials: a key that is equal where the polynomials are."""
    if isinstance(value, tuple):
        return tuple([frozen(each) for each in value])
    return (Size, tuple(sorted(value.terms.items()))) if isinstance(value, Size) else value


#: sizes of which any may be the highest; where there are more, the values at hand decide
CANDIDATES_KEPT: Final = 8


class Highest:
    """The largest of several sizes, where the variables decide which it is, with a label; the first of equal ones."""

    __slots__ = ("candidates",)

    def __init__(self, candidates: list[tuple[Any, Any]]) -> None:
        self.candidates = candidates

    def reach(self, size: Any, label: Any) -> None:
        """Take one more, unless one before it is never smaller; those that are always smaller are dropped."""
        for known, _ in reversed(self.candidates):
            if _least(known, size) >= 0:
                return
        kept = [each for each in self.candidates if _least(size, each[0]) <= 0]
        self.candidates = [*kept, (size, label)]
        if len(self.candidates) > CANDIDATES_KEPT:
            self._decide()

    def _decide(self) -> None:
        """Keep the highest at hand alone, the conditions noted."""
        best, _ = kept = self.candidates[0]
        for each in self.candidates[1:]:
            if each[0] > best:
                best, _ = kept = each
        self.candidates = [kept]

    def __add__(self, more: Any) -> Highest:
        return Highest([(size + more, label) for size, label in self.candidates])

    __radd__ = __add__


P = ParamSpec("P")
R = TypeVar("R")


def cached(function: Callable[P, R]) -> Callable[P, R]:
    """Remember what a function of shapes gives; with a size among them it is computed anew, its conditions noted."""
    remembering: Any = lru_cache(maxsize=8192)(function)

    @wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        try:
            return remembering(*args, **named)  # type: ignore[no-any-return]
        except TypeError:  # a size is in no table
            return function(*args, **named)

    return call
