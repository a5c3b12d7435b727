"""The merger of packed patches beside the library's, alone: what it holds while its MLP runs too."""

from functools import partial
from types import ModuleType

import pytest
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
from transformers.models.qwen2_vl import modeling_qwen2_vl

from modelmeter.layers import LayerNorm, RMSNorm
from modelmeter.layers.code import Code, Execution, Precision
from modelmeter.layers.vision.packed import PatchMerger
from modelmeter.programs.verify.layers import compare_layer
from modelmeter.reference.building import on_meta
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import Given, LayerCase

#: the library's module, its class, and the kind of norm
MERGERS = {
    "qwen2_5_vl": (modeling_qwen2_5_vl, "Qwen2_5_VLPatchMerger", RMSNorm),
    "qwen2_vl": (modeling_qwen2_vl, "PatchMerger", LayerNorm),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(("modeling", "name", "norm"), MERGERS.values(), ids=MERGERS)
def test_it_is_the_librarys(modeling: ModuleType, name: str, norm: type, dtype: str) -> None:
    code = Code(Execution("transformers"), "flash", Precision.of(dtype))
    with on_meta(dtype):
        module = getattr(modeling, name)(dim=24, context_dim=16, spatial_merge_size=2).eval()
    case = LayerCase(
        layer=PatchMerger(16, 24, 4, norm=norm(16, code=code), code=code),
        inputs=(Given((60, 16)),),
        module=name,
        prepare=lambda: partial(module, meta_tensor((60, 16), dtype)),
        outputs=slice(None),
        dtype=dtype,
        attention="",
        experts_hit=None,
        note="",
    )
    assert compare_layer(case).agrees(0), case
