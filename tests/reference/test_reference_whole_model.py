"""transformers' whole model on the meta device, and the watch over its modules."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from transformers.models.unlimited_ocr import modeling_unlimited_ocr

from modelmeter.reference.flops import measure_flops
from modelmeter.reference.module_calls import ModuleCall, ModuleCalls
from modelmeter.reference.modules import cache_tensors
from modelmeter.reference.whole_model import WholeReference, values_unchecked

whole = cache(WholeReference)


def test_parameters() -> None:
    parameters = dict(whole().model.named_parameters())
    assert sum(parameter.numel() for parameter in parameters.values()) == 3_335_504_128
    assert whole().unused_patch_convolution() == 3 * 14 * 14 * 1024
    assert {parameter.device.type for parameter in parameters.values()} == {"meta"}


def test_a_page_and_a_step() -> None:
    past = whole().empty_cache()
    page = whole().page_inputs(903, 10, 1024, 640, (2, 3))
    assert page["input_ids"].shape == (1, 913)
    with values_unchecked():
        done = []
        flops = measure_flops(
            whole().model,
            lambda: done.append(whole().model(**page, past_key_values=past, use_cache=True, logits_to_keep=1)),
        )
        step = measure_flops(whole().model, lambda: whole().model(**whole().step_inputs(), past_key_values=past))
    assert (done[0].image_hidden_states[0].shape, done[0].logits.shape) == ((903, 1280), (1, 1, 129280))
    head = 2 * 1280 * 129280
    assert flops.total == 3_468_866_060_288 + 797_349_048_320 + head
    attention = 2 * 2 * 12 * 1280  # FLOPs of a step for each position that it attends to
    assert step.total == 872_775_680 + attention * 10 + head  # FACTS: a step after 903
    assert {tuple(tensor.shape) for tensor in cache_tensors(past)} == {(1, 10, 914, 128)}


def test_the_check_of_values_comes_back() -> None:
    check = modeling_unlimited_ocr.torch_compilable_check
    with pytest.raises(RuntimeError), values_unchecked():
        assert modeling_unlimited_ocr.torch_compilable_check is not check
        raise RuntimeError
    assert modeling_unlimited_ocr.torch_compilable_check is check


class Twice(nn.Module):
    """Runs its one layer twice, the second time by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, *, scale: Tensor | None = None) -> tuple[Tensor, None, list[Tensor]]:
        first = self.layer(x)
        return first, None, [self.layer(input=first[:1])]


def test_module_calls() -> None:
    model, begun = Twice(), []
    x, scale = torch.zeros(2, 3), torch.zeros(())

    def label(path: str) -> str:
        begun.append(path)
        return str(len(begun))

    with ModuleCalls(model, label) as seen:
        model(x, scale=scale)
    model(x)  # no longer watched
    assert begun == ["", "layer", "layer"]
    assert seen.by_path == {
        "": [ModuleCall(label="1", inputs=[(2, 3), ()], outputs=[(2, 3), (1, 3)])],
        "layer": [
            ModuleCall(label="2", inputs=[(2, 3)], outputs=[(2, 3)]),
            ModuleCall(label="3", inputs=[(1, 3)], outputs=[(1, 3)]),
        ],
    }
