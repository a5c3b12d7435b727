"""Sizes that vary: wherever the conditions hold, a program on plain ints takes the same path to the same values."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.errors import ModelMeterError
from modelmeter.shape_tensor import is_contiguous, view_strides
from modelmeter.sizes import (
    ZERO,
    Condition,
    Highest,
    Size,
    Variables,
    cached,
    compiled,
    frozen,
    rebased,
    value_of,
)

# -- a little machine: programs over a stack of numbers -------------------------------------------------------------

Step = Callable[[list[Any]], object]


def arithmetic(name: str, left: int, right: int, stack: list[Any]) -> object:
    """Puts the result of an operator on two numbers of the stack on top of it."""
    a, b = stack[left % len(stack)], stack[right % len(stack)]
    operators: dict[str, Callable[[], Any]] = {
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b if max(a, b) < 10**6 else a,
        "//": lambda: a // (b or 1),
        "%": lambda: a % (b or 1),
        "rounded up": lambda: -(-a // 8) * 8,
        "negative": lambda: -a,
        "larger": lambda: max(a, b),
    }
    stack.append(operators[name]())
    return None


def decision(name: str, left: int, right: int, stack: list[Any]) -> object:
    """What a comparison of two numbers of the stack decides: a part of the path."""
    a, b = stack[left % len(stack)], stack[right % len(stack)]
    return {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "true": bool(a)}[name]


INDEX = st.integers(0, 9)
OPERATORS = ("+", "-", "*", "//", "%", "rounded up", "negative", "larger")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "true")
PROGRAMS = st.lists(
    st.one_of(
        st.builds(partial, st.just(arithmetic), st.sampled_from(OPERATORS), INDEX, INDEX),
        st.builds(partial, st.just(decision), st.sampled_from(COMPARISONS), INDEX, INDEX),
    ),
    min_size=1,
    max_size=9,
)


def run(program: Sequence[Step], stack: list[Any]) -> tuple[list[Any], list[object]]:
    """The stack that a program leaves, and what it decided."""
    return stack, [step(stack) for step in program]


@given(PROGRAMS, st.integers(1, 12), st.integers(1, 12))
def test_where_the_conditions_hold_ints_do_the_same(program: Sequence[Step], rows: int, columns: int) -> None:
    variables = Variables(rows=rows, columns=columns)
    left, path = run(program, [variables.size("rows"), variables.size("columns"), 1, 3])
    conditions = tuple(variables.conditions)
    assert variables.hold(conditions)
    figures = compiled(variables.values, tuple(left), conditions)
    for values in product(range(1, 14, 2), range(1, 14, 3)):
        elsewhere = Variables(rows=values[0], columns=values[1])
        there = figures(rows=values[0], columns=values[1])
        assert elsewhere.hold(conditions) == (there is not None)
        if there is not None:
            ints, taken = run(program, [*values, 1, 3])
            assert taken == path
            assert [value_of(size, elsewhere) for size in left] == ints == list(there)


# -- single rules, by hand ------------------------------------------------------------------------------------------


def test_what_the_variables_cannot_turn_is_no_condition() -> None:
    variables = Variables(rows=3)
    rows = variables.size("rows")
    assert rows * 10 + 1 > 10 and rows != 0 and rows >= 1 and -rows < 0 and rows != -1 and 0 not in (rows, rows * 2)
    assert rows - rows == 0 and rows * 4 // 2 == rows + rows and (rows * 6 + 3) % 3 == 0
    assert variables.conditions == {}


@pytest.mark.parametrize(
    ("decide", "holds_for"),
    [
        (lambda rows: rows == 3, [3]),
        (lambda rows: rows * 8 == 8, [2, 3, 4, 5]),
        (lambda rows: rows < 4, [1, 2, 3]),
        (lambda rows: 2 * rows > 4, [3, 4, 5]),
        (lambda rows: rows % 2, [1, 3, 5]),
        (lambda rows: rows // 2, [1, 3, 5]),
        (int, [3]),
        (range, [3]),
        (float, [3]),
        (lambda rows: 7 % rows, [3]),
        (lambda rows: rows * rows // (rows + 1), [3]),
        (lambda rows: (rows * rows + 2 * rows + 1) // (rows + 1), [1, 2, 3, 4, 5]),
    ],
)
def test_a_decision_holds_where_it_would_be_the_same(decide: Callable[[Any], object], holds_for: list[int]) -> None:
    variables = Variables(rows=3)
    decide(variables.size("rows"))
    assert [value for value in range(1, 6) if Variables(rows=value).hold(variables.conditions)] == holds_for


def test_conditions_are_noted_once_in_their_lowest_terms() -> None:
    variables = Variables(rows=3, columns=5)
    rows, columns = variables.size("rows"), variables.size("columns")
    assert rows * 8 != columns * 8 and columns * 5 != rows * 5 and rows != columns
    assert len(variables.conditions) == 1


def test_a_remainder_that_is_known_leaves_a_whole_number() -> None:
    variables = Variables(tokens=913)
    padded = -(-variables.size("tokens") // 8) * 8
    assert value_of(padded, Variables(tokens=913)) == 920 and value_of(padded, Variables(tokens=9)) == 16
    eighths = variables.size("tokens") // 8
    assert Fraction(1, 8) in eighths.terms.values() and value_of(eighths, Variables(tokens=17)) == 2
    assert not Variables(tokens=16).hold(variables.conditions)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda size: size**0.5,
        lambda size: size * 1.5,
        lambda size: size / 2,
        hash,
        lambda size: {size},
        lambda size: size == 3.0,
        lambda size: Fraction(3) in (1, size),
    ],
)
def test_what_would_lose_the_variable_fails(misuse: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        misuse(Variables(rows=3).size("rows"))


@pytest.mark.parametrize("value", [0, 1.5, Variables(rows=3).size("rows")])
def test_a_variable_is_a_number_from_1_on(value: Any) -> None:
    with pytest.raises(ModelMeterError, match=r"rows=.* is no number from 1 on"):
        Variables(rows=value)


def test_sizes_of_two_walks_do_not_mix() -> None:
    one, other = (Variables(rows=3).size("rows") for _ in range(2))
    for mix in (lambda: one + other, lambda: one - other, lambda: one * other):
        with pytest.raises(ModelMeterError, match="are of different Variables"):
            mix()


def test_high_powers_stay_apart_from_other_variables() -> None:
    variables = Variables(rows=2, columns=3)
    assert value_of(power(variables.size("rows"), 100), variables) == 2**100


def power(size: Any, exponent: int) -> Any:
    """A product of equal sizes."""
    result = size
    for _ in range(exponent - 1):
        result = result * size
    return result


def test_a_cached_function_computes_anew_for_sizes_and_notes_its_conditions() -> None:
    calls = []

    @cached
    def first_is_one(shape: tuple[int, ...]) -> bool:
        calls.append(shape)
        return shape[0] == 1

    assert [first_is_one((1, 2)), first_is_one((1, 2))] == [True, True] and len(calls) == 1
    variables = Variables(rows=1)
    assert first_is_one((variables.size("rows"), 2)) and first_is_one((variables.size("rows"), 2)) and len(calls) == 3
    assert [Variables(rows=value).hold(variables.conditions) for value in (1, 2)] == [True, False]


def test_the_rules_of_strides_hold_for_sizes() -> None:
    for batch in range(1, 4):
        variables = Variables(batch=batch)
        size: Any = variables.size("batch")
        strides = view_strides((size, 4, 6), (24, 1, 4), (size, 24))
        assert strides == view_strides((batch, 4, 6), (24, 1, 4), (batch, 24)) is None
        assert is_contiguous((size, 4, 6), (24, 1, 4)) is False
        assert is_contiguous((4, size, 6), (6, 1, 1)) is is_contiguous((4, batch, 6), (6, 1, 1)) is (batch == 1)
        assert variables.conditions  # a batch of 1 has other strides than one of 2


def test_sizes_of_one_polynomial_are_one_key_at_any_value() -> None:
    here, there = Variables(rows=3, columns=2), Variables(rows=9, columns=4)
    shape, other = ((each.size("rows") * each.size("columns"), 4) for each in (here, there))
    assert frozen((shape, "bfloat16")) == frozen((other, "bfloat16")) != frozen(((here.size("rows"), 4), "bfloat16"))
    moved = rebased(shape, there)
    assert moved[0].value == 36 and moved[0].variables is there and moved[1] == 4
    condition = Condition(((0, 1),), ZERO)
    assert type(rebased(condition, there)) is Condition


# -- the highest ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(*[st.integers(-4, 4)] * 3), min_size=1, max_size=8), st.integers(1, 6), st.integers(1, 6))
def test_the_highest_is_the_first_of_the_largest(plans: list[tuple[int, int, int]], rows: int, columns: int) -> None:
    variables = Variables(rows=rows, columns=columns)
    highest = Highest([])
    for label, (by_row, by_column, constant) in enumerate(plans):
        highest.reach(by_row * variables.size("rows") + by_column * variables.size("columns") + constant, label)
    assert variables.conditions == {}  # it decides nothing
    for values in product(range(1, 6), repeat=2):
        elsewhere = Variables(rows=values[0], columns=values[1])
        sizes = [value_of(size, elsewhere) for size, _ in highest.candidates]
        expected = [by_row * values[0] + by_column * values[1] + constant for by_row, by_column, constant in plans]
        assert max(sizes) == max(expected)
        assert highest.candidates[sizes.index(max(sizes))][1] == expected.index(max(expected))
    assert [value_of(size, variables) for size, _ in (5 + highest).candidates] == [
        5 + value_of(size, variables) for size, _ in highest.candidates
    ]


def test_equal_sizes_leave_the_first() -> None:
    rows = Variables(rows=3).size("rows")
    highest = Highest([])
    for size, label in ((2 * rows, "first"), (rows + rows, "second"), (rows, "smaller")):
        highest.reach(size, label)
    assert [label for _, label in highest.candidates] == ["first"]


def test_those_that_are_never_the_highest_are_dropped() -> None:
    rows = Variables(rows=3).size("rows")
    highest = Highest([])
    for size, label in (
        (rows, "a"),
        (rows * 2, "b"),
        (rows + 1, "c"),
        (rows * 2, "d"),
        (rows * 3, "e"),
        (100, "f"),
        (rows * 3, "g"),
    ):
        highest.reach(size, label)
    assert [label for _, label in highest.candidates] == ["e", "f"]
    assert isinstance(highest.candidates[0][0], Size)
