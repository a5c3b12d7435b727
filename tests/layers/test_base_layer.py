"""BaseLayer: every figure from one forward pass, checked by hand on layers small enough to redo."""

import gc
from typing import Any, Unpack

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, InputSpec, LayerList, Linear, Settings
from modelmeter.models.deepseek_ocr import MlpProjector
from modelmeter.operators import FLOPS_PER_ELEMENT, add, arange, mm, mul, sigmoid, to
from modelmeter.shape_tensor import ShapeTensor, Tape
from modelmeter.walk import Call, OperatorRecord


class GatedMLP(BaseLayer):
    """down_proj(sigmoid(gate_proj(x)) * up_proj(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.gate_proj = Linear(hidden_size, intermediate_size, bias=False, code=self.code)
        self.up_proj = Linear(hidden_size, intermediate_size, bias=False, code=self.code)
        self.down_proj = Linear(intermediate_size, hidden_size, bias=False, code=self.code)

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        gate = self.gate_proj(x)
        return self.down_proj(mul(sigmoid(gate), self.up_proj(x)))


class Residual(BaseLayer):
    """x + mlp(x); what it was given is kept by the caller."""

    def __init__(self, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.mlp = GatedMLP(3, 11, code=self.code)

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        return add(x, self.mlp(x))


class Stack(BaseLayer):
    """n blocks of one description, the first input held all along."""

    def __init__(self, depth: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.blocks = LayerList([Residual(code=self.code)] * depth, code=self.code)

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        first = add(x, x)
        hidden = first
        for block in self.blocks:
            hidden = block(hidden)
        return hidden


TOKENS = 2 * 7
SIZE = {"bfloat16": 2, "float16": 2, "float32": 4}


@pytest.mark.parametrize("dtype", SIZE)
def test_figures_of_a_gated_mlp_by_hand(dtype: str) -> None:
    layer = GatedMLP(3, 11, dtype=dtype).bind((2, 7, 3))
    wide, narrow, size = TOKENS * 11, TOKENS * 3, SIZE[dtype]
    assert layer.forward_tensor_core_flops() == 3 * (2 * TOKENS * 3 * 11)
    assert layer.forward_cuda_core_flops() == wide * (FLOPS_PER_ELEMENT["sigmoid"] + FLOPS_PER_ELEMENT["mul"])
    weights = 3 * (3 * 11) * size
    assert layer.forward_memory_weight() == weights
    products = 2 * (narrow + wide) + (wide + narrow)  # gate and up; down
    pointwise = (wide + wide) + (2 * wide + wide)  # sigmoid; product
    assert layer.forward_cal_io() == (products + pointwise) * size + weights
    # at the product: gate, sigmoid(gate), up and the product itself
    assert layer.forward_memory_activation() == 4 * wide * size
    assert layer.walk().peak_operator == "aten.mul.Tensor"
    assert layer.forward_memory_kvcache() == 0


def test_an_operator_names_the_type_it_runs_in() -> None:
    tape = Tape()
    x = to(tape.input((2, 3), "bfloat16"), "float32")
    mm(x, x.transpose(0, 1))
    arange(tape, 3)
    assert [entry.dtype for entry in tape.entries if isinstance(entry, OperatorRecord)] == [
        "bfloat16",  # a cast reads the old type
        "float32",
        "int64",
    ]


def test_operators_sum_to_the_totals() -> None:
    layer = Stack(5).bind((2, 7, 3))
    walk, records = layer.walk(), layer.operators()
    assert len(records) == walk.operator_count == 1 + 5 * 6
    assert sum(record.tensor_core_flops for record in records) == layer.forward_tensor_core_flops()
    assert sum(record.cuda_core_flops for record in records) == layer.forward_cuda_core_flops()
    assert sum(record.bytes_read + record.bytes_written for record in records) == layer.forward_cal_io()
    assert sum(record.weight_bytes for record in records) == layer.forward_memory_weight()
    assert max(record.live_bytes for record in records) == layer.forward_memory_activation()
    paths = [record.path for record in records]
    assert paths[:2] == ["", "blocks.0.mlp.gate_proj"]
    assert paths[-2:] == ["blocks.4.mlp.down_proj", "blocks.4"]


def test_repeated_blocks_are_walked_once_and_cost_the_same() -> None:
    walked: list[int] = []

    class Counted(Residual):
        def forward(self, x: ShapeTensor) -> ShapeTensor:
            walked.append(1)
            return super().forward(x)

    shared, single = Stack(6), Stack(6)
    shared.blocks.layers = (Counted(),) * 6
    single.blocks.layers = tuple(Counted() for _ in range(6))
    repeated, separate = shared.walk((2, 7, 3)), single.walk((2, 7, 3))
    assert len(walked) == 1 + 6
    assert repeated == separate
    # the first block runs with the input of the stack alive, the second with that and the first's output
    assert repeated.peak_path == "blocks.1.mlp"
    assert shared.parameter_count() == single.parameter_count() == 6 * 3 * 33


def test_a_walk_is_remembered_by_geometry() -> None:
    layer = GatedMLP(3, 11)
    assert layer.walk((2, 7, 3)) is layer.walk((2, 7, 3))
    assert layer.walk((2, 7, 3)) is not layer.walk((1, 7, 3))
    turned = InputSpec((2, 7, 3), "bfloat16", (1, 2, 14))
    assert layer.walk(turned).operator_count == layer.walk((2, 7, 3)).operator_count + 2  # two copies to rows


def test_the_walk_leaves_its_outputs_alive_and_nothing_else() -> None:
    gc.disable()
    try:
        tape = Tape()
        layer = Stack(3)
        x = tape.input((2, 7, 3), "bfloat16")
        for _ in range(2):  # walked, then repeated
            result = layer.call_remembered("", x)
            assert tape.live_bytes == result.nbytes
            del result
            assert tape.live_bytes == 0
        first, second = tape.entries
        assert isinstance(first, Call) and isinstance(second, Call) and first.walk is second.walk
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: GatedMLP(3, 11).forward_cal_io(), "GatedMLP: no input shapes"),
        (
            lambda: MlpProjector(execution="serving", attention="eager"),
            "MlpProjector: attention=eager, but execution=serving has fused attention only; leave runtime.attention",
        ),
        (lambda: GatedMLP(3, 11, execution="transformer"), 'did you mean "transformers"'),
        (lambda: GatedMLP(3, 11, attention="flush"), 'did you mean "flash"'),
        (lambda: GatedMLP(3, 11, dtype="fp16"), "the options are|did you mean"),
        (lambda: GatedMLP(3, 11).walk((2, 7, 4)), "does not end in the weight's 3 input features"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ModelMeterError, match=text):
        make()


def test_an_error_inside_a_walk_leaves_the_layer_usable() -> None:
    layer = GatedMLP(3, 11)
    expected = GatedMLP(3, 11).walk((2, 7, 3))
    with pytest.raises(ModelMeterError):
        layer.walk((2, 7, 5))
    assert layer.walk((2, 7, 3)) == expected
