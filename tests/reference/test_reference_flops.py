"""FLOPs of programs that fit in the head, by module; an operator that nobody answers for is refused."""

import pytest
import torch
from torch import nn

from modelmeter.errors import ModelMeterError
from modelmeter.reference.flops import FREE, FREE_OF_MULTIPLY_ADDS, measure_flops


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.act(self.first(x))
        return hidden @ hidden.transpose(-2, -1)  # [2, 7, 5] by [2, 5, 7], in this module itself


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.last = nn.Linear(7, 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.inner(x))


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


FIRST, SCORES, LAST = 2 * 14 * 3 * 5, 2 * (2 * 7 * 5 * 7), 2 * 14 * 7 * 11


def test_flops_are_attributed_to_every_submodule_by_its_own_path() -> None:
    module = Outer().to("meta")
    count = measure_flops(module, lambda: module(meta(2, 7, 3)))
    assert count.total == FIRST + SCORES + LAST
    assert count.by_module == {
        "": FIRST + SCORES + LAST,
        "inner": FIRST + SCORES,
        "inner.first": FIRST,
        "inner.act": 0,
        "last": LAST,
    }
    assert count.own_by_module["inner"] == SCORES
    assert count.by_operator == {"aten.addmm": FIRST + LAST, "aten.bmm": SCORES}


def test_several_roots_get_the_paths_they_are_given() -> None:
    module = Outer().to("meta")
    roots = {"tower.one": module.inner, "two": module.last}
    count = measure_flops(roots, lambda: module(meta(2, 7, 3)))
    assert count.by_module["tower.one.first"] == FIRST
    assert count.by_module["tower"] == count.by_module["tower.one"] == FIRST + SCORES
    assert count.by_module["two"] == LAST
    assert count.by_module[""] == count.total


def test_a_module_that_fails_leaves_no_path_behind() -> None:
    module = Outer().to("meta")

    def call() -> object:
        with pytest.raises(RuntimeError):
            module.inner(meta(2, 7, 4))  # fails in inner.first
        return meta(7, 5) @ meta(5, 3)

    count = measure_flops(module, call)
    assert count.own_by_module[""] == count.total == 2 * 7 * 5 * 3
    assert count.by_module["inner"] == 0


OFFSETS = torch.tensor([1, 4, 6], dtype=torch.int32)
PRODUCTS = {  # operators that PyTorch's counter leaves at zero, and its own        flops, by hand
    "mv": (lambda: meta(3, 5) @ meta(5), 2 * 3 * 5),
    "dot": (lambda: meta(5) @ meta(5), 2 * 5),
    "addmv": (lambda: torch.addmv(meta(3), meta(3, 5), meta(5)), 2 * 3 * 5),
    "grouped": (
        lambda: torch._grouped_mm(
            torch.empty(6, 16, device="meta", dtype=torch.bfloat16),
            torch.empty(3, 16, 8, device="meta", dtype=torch.bfloat16),
            offs=OFFSETS.to("meta"),
        ),
        2 * 6 * 16 * 8,
    ),
    "attention_cpu": (
        lambda: nn.functional.scaled_dot_product_attention(*(torch.ones(1, 2, 3, 16) for _ in "qkv")),
        2 * 2 * (2 * 3 * 16 * 3),
    ),
    "convolution": (
        lambda: nn.functional.conv2d(meta(1, 3, 8, 8), meta(5, 3, 2, 2), stride=2),
        2 * 16 * 5 * 12,
    ),
    "elementwise": (lambda: meta(3, 5) * 2 + 1, 0),
}


@pytest.mark.parametrize("call, flops", PRODUCTS.values(), ids=PRODUCTS)
def test_products(call: object, flops: int) -> None:
    assert measure_flops(None, call).total == flops  # type: ignore[arg-type]


def test_inference_mode_counts_the_parts_of_a_composite_operator() -> None:
    module = Outer().to("meta")

    def call() -> object:
        with torch.inference_mode():
            return module(meta(2, 7, 3))

    assert measure_flops(module, call).total == FIRST + SCORES + LAST


REFUSED = {
    "aten.addbmm.default": lambda: torch.addbmm(meta(3, 4), meta(2, 3, 5), meta(2, 5, 4)),
    "aten._cdist_forward.default": lambda: torch.cdist(
        meta(3, 2), meta(4, 2), compute_mode="donot_use_mm_for_euclid_dist"
    ),
    "aten.linalg_lu_factor_ex.default": lambda: torch.linalg.lu_factor_ex(meta(3, 3)),
}


@pytest.mark.parametrize("operator, call", REFUSED.items(), ids=REFUSED)
def test_an_unknown_operator_is_refused_by_name(operator: str, call: object) -> None:
    with pytest.raises(ModelMeterError, match=rf"operator {operator} .*neither counted nor listed"):
        measure_flops(None, call)  # type: ignore[arg-type]


def test_the_guard_is_what_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Outer().to("meta")
    monkeypatch.setattr("modelmeter.reference.flops.FREE_OF_MULTIPLY_ADDS", FREE_OF_MULTIPLY_ADDS - {"gelu"})
    with pytest.raises(ModelMeterError, match=r"operator aten\.gelu\.default \(in module 'inner\.act'\)"):
        measure_flops(module, lambda: module(meta(2, 7, 3)))


def test_no_operator_is_free_for_two_reasons_and_every_one_exists() -> None:
    names = [name for group in FREE.values() for name in group]
    assert len(names) == len(set(names))
    assert not [name for name in names if not hasattr(torch.ops.aten, name)]
    products = {
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
        "mv",
        "dot",
        "convolution",
        "linear",
        "addbmm",
        "_grouped_mm",
        "matmul",
    }
    assert not products & FREE_OF_MULTIPLY_ADDS
