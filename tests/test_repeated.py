"""`Tape.repeated`: calls in a row, walked once, are to the byte what a loop over them is."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter.devices.roofline import Roofline
from modelmeter.errors import ModelMeterError
from modelmeter.operators import add, cat, fused, gelu
from modelmeter.shape_tensor import Repeated, ShapeTensor, Tape
from modelmeter.sizes import Variables, value_of
from modelmeter.walk import Walk
from tests.devices.synthetic import slow_device

#: how results come about: a tree of windows (rows of the input, and whether two results are returned) and repetitions
Plan = tuple[Any, ...]

WINDOW = st.tuples(st.just("window"), st.integers(1, 6), st.booleans())
PLANS = st.recursive(
    WINDOW,
    lambda inner: st.tuples(st.just("repeat"), st.integers(0, 4), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=6,
)


def window(x: ShapeTensor, rows: int, both: bool) -> Any:
    """A call: the result peaks beside an intermediate that dies."""
    first = gelu(x.narrow(0, 0, rows))
    second = add(first, first)
    return (first, second) if both else second


def looped(x: ShapeTensor, plan: Plan) -> list[ShapeTensor]:
    """The plan as a plain loop: every call is walked."""
    if plan[0] == "window":
        made = window(x, *plan[1:])
        return list(made) if isinstance(made, tuple) else [made]
    results: list[ShapeTensor] = []
    for _ in range(plan[1]):
        for each in plan[2]:
            results += looped(x, each)
    return results


def repeated(x: ShapeTensor, plan: Plan) -> Any:
    """The plan with `repeated`."""
    if plan[0] == "window":
        return window(x, *plan[1:])
    return x.tape.repeated(plan[1], lambda: tuple(_flat([repeated(x, each) for each in plan[2]])))


def _flat(results: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for each in results:
        if each is not None:
            flat += list(each) if type(each) is tuple else [each]
    return flat


def walked(build: Callable[[ShapeTensor], Any], tape: Tape) -> tuple[Walk, int]:
    """(the walk that joins what `build` makes of an input, bytes alive at its end)."""
    x = tape.input((8, 5), "bfloat16")
    tape.begin()
    parts = _flat([build(x)])
    joined = cat([*parts, x], 0)
    del parts
    return tape.walk(), tape.live_bytes - joined.nbytes


@settings(max_examples=150, deadline=None)
@given(plan=PLANS)
def test_a_repetition_is_a_loop(plan: Plan) -> None:
    gc.disable()
    try:
        loop, loop_live = walked(lambda x: tuple(looped(x, plan)), Tape())
        once, once_live = walked(lambda x: repeated(x, plan), Tape())
    finally:
        gc.enable()
    assert list(once.records()) == list(loop.records())
    assert once[1:] == loop[1:]
    assert once_live == loop_live


@settings(max_examples=50, deadline=None)
@given(plan=PLANS)
def test_who_is_alive_at_the_peak_sums_to_it(plan: Plan) -> None:
    tape = Tape(tracing=True)
    walk, _ = walked(lambda x: repeated(x, plan), tape)
    assert sum(holding.nbytes for holding in tape.at_peak) == walk.peak_bytes
    assert walk.peak_bytes == walked(lambda x: tuple(looped(x, plan)), Tape())[0].peak_bytes


def grid(x: ShapeTensor, rows: int, columns: int) -> ShapeTensor:
    """A map of rows x columns patches in windows of 4 x 4, each a call; at the right and below they are smaller."""
    tape = x.tape
    (whole_rows, below), (whole_columns, right) = divmod(rows, 4), divmod(columns, 4)

    def row(height: int) -> tuple[Any, ...]:
        whole = tape.repeated(whole_columns, lambda: window(x, 4 * height, False))
        return tuple(_flat([whole, window(x, right * height, False) if right else None]))

    parts = _flat([tape.repeated(whole_rows, lambda: row(4)), row(below) if below else None])
    return cat(parts, 0)


def grid_walk(rows: int, columns: int, variables: Variables | None = None) -> Walk:
    """The walk of `grid`, over variables where there are some."""
    tape = Tape(variables=variables)
    x = tape.input((64, 5), "bfloat16")
    tape.begin()
    if variables is not None:
        rows, columns = variables.size("rows"), variables.size("columns")
    joined = grid(x, rows, columns)
    walk = tape.walk()
    del joined
    assert tape.live_bytes == 0
    return walk


def test_sixteen_laws_hold_for_windows_of_every_grid() -> None:
    laws: list[tuple[Variables, Walk]] = []
    for rows in range(4, 30):
        for columns in range(4, 30):
            here = Variables(rows=rows, columns=columns)
            law = next((law for law in laws if here.hold(law[0].conditions)), None)
            if law is None:
                variables = Variables(rows=rows, columns=columns)
                law = (variables, grid_walk(rows, columns, variables))
                laws.append(law)
            walk, expected = law[1], grid_walk(rows, columns)
            peak: Any = walk.peak_bytes
            assert max(value_of(size, here) for size, _ in peak.candidates) == expected.peak_bytes
            for name in ("cuda_core_flops", "bytes_read", "bytes_written", "operator_count"):
                assert value_of(getattr(walk, name), here) == getattr(expected, name), (name, rows, columns)
    assert len(laws) == 16


def test_the_time_of_a_repetition_is_that_of_its_calls(tmp_path: Path) -> None:
    roofline = Roofline(slow_device(tmp_path))
    plan = ("repeat", 3, [("repeat", 4, [("window", 2, True)]), ("window", 5, False)])
    once, _ = walked(lambda x: repeated(x, plan), Tape())
    loop, _ = walked(lambda x: tuple(looped(x, plan)), Tape())
    assert roofline.stage(once) == roofline.stage(loop)
    assert sum(each.ticks for each in roofline.operators(once)) == roofline.stage(once).ticks


def test_no_call_is_none_and_a_negative_count_is_refused() -> None:
    tape = Tape()
    x = tape.input((8, 5), "bfloat16")
    assert tape.repeated(0, lambda: window(x, 1, False)) is None
    assert not tape.entries
    with pytest.raises(ModelMeterError, match="repeated: count=-1 is negative"):
        tape.repeated(-1, lambda: window(x, 1, False))
    variables = Variables(rows=3)
    tape = Tape(variables=variables)
    with pytest.raises(ModelMeterError, match="repeated: count=-1 is negative"):
        tape.repeated(variables.size("rows") - 4, lambda: x)


def test_a_call_must_return_what_it_leaves() -> None:
    tape = Tape()
    x = tape.input((8, 5), "bfloat16")
    kept: list[ShapeTensor] = []
    with pytest.raises(ModelMeterError, match="leaves 80 bytes alive and returns tensors of 0"):
        tape.repeated(2, lambda: kept.append(gelu(x)))
    outside = gelu(x)
    with pytest.raises(ModelMeterError, match="leaves 0 bytes alive and returns tensors of 80"):
        tape.repeated(2, lambda: outside.narrow(0, 0, 2))


def test_a_kernel_repeats_nothing_within() -> None:
    tape = Tape()
    x = tape.input((8, 5), "bfloat16")

    def kernel(x: ShapeTensor) -> Repeated | None:
        return tape.repeated(2, lambda: gelu(x))

    with pytest.raises(ModelMeterError, match="within fused twice there are no calls"):
        fused("twice", kernel, x)
