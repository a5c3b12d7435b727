"""Pages with real tensors, of models whose real page is the reference's model made anew: sizes are the cost model's."""

import pytest
import torch

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from tests.models.deepseek_ocr2.small import OVERRIDES
from tests.models.granite_docling.small import OVERRIDES as GRANITE
from tests.models.idefics3.small import OVERRIDES as IDEFICS3
from tests.models.qianfan_ocr.small import OVERRIDES as QIANFAN

QWEN_DECODER = (
    "decoder.hidden_size=48",
    "decoder.intermediate_size=64",
    "decoder.num_hidden_layers=2",
    "decoder.num_attention_heads=2",
    "decoder.num_key_value_heads=1",
    "decoder.mrope_section=[4,4,4]",
    "decoder.vocab_size=300",
)
QWEN2 = ("vision.depth=2", "vision.embed_dim=64", "vision.num_heads=2", "vision.hidden_size=48", *QWEN_DECODER)
QWEN2_5 = (
    "vision.depth=2",
    "vision.fullatt_block_indexes=[1]",
    "vision.hidden_size=64",
    "vision.num_heads=2",
    "vision.intermediate_size=80",
    "vision.out_hidden_size=48",
    *QWEN_DECODER,
)

GLM = (
    "vision.depth=2",
    "vision.hidden_size=64",
    "vision.num_heads=2",
    "vision.intermediate_size=80",
    "vision.out_hidden_size=48",
    "decoder.head_dim=24",
    *QWEN_DECODER,
)
PADDLE = (
    "vision.num_hidden_layers=2",
    "vision.hidden_size=64",
    "vision.intermediate_size=80",
    "vision.num_attention_heads=2",
    "decoder.head_dim=24",
    *QWEN_DECODER,
)

HUNYUAN = (
    "vision.num_hidden_layers=2",
    "vision.hidden_size=64",
    "vision.num_attention_heads=2",
    "vision.intermediate_size=80",
    "vision.out_hidden_size=48",
    "vision.max_image_size=64",
    "workload.min_pixels=1024",
    *(each for each in QWEN_DECODER if "mrope" not in each),
    "decoder.head_dim=24",
    "decoder.mrope_section=[2,4,4,2]",
)

QWEN3 = (
    *GLM,
    "vision.deepstack_visual_indexes=[0,1]",
    "vision.num_position_embeddings=64",
)

#: model, overrides, a page, and the width of its decoder
PAGES = {
    "qwen2_vl": ((*QWEN2, "workload=page"), (140, 196), 48),
    "qwen2_5_vl": ((*QWEN2_5, "workload=page"), (150, 300), 48),
    "qwen3_vl": (QWEN3, (300, 250), 48),
    "glm_ocr": (GLM, (150, 90), 48),
    "paddleocr_vl": ((*PADDLE, "workload.min_pixels=3136"), (150, 300), 48),
    "hunyuan_vl": (HUNYUAN, (150, 200), 48),
    "deepseek_ocr2": (tuple(OVERRIDES), (640, 480), 64),
    "qianfan_ocr": (QIANFAN, (200, 110), 80),
    "idefics3": (tuple(IDEFICS3), (300, 110), 96),
    "granite_docling": ((*GRANITE, "workload=fine", "workload.size=128"), (200, 300), 96),
}


@pytest.mark.parametrize(("model", "given"), PAGES.items(), ids=PAGES)
def test_a_real_page_runs_again_and_again(model: str, given: tuple[tuple[str, ...], tuple[int, int], int]) -> None:
    overrides, size, width = given
    pages = 1 if model == "deepseek_ocr2" else 2
    cost_model = load_cost_model([*overrides, "runtime.dtype=float32", f"runtime.batch_size={pages}"], model=model)
    cost = cost_model.page(*size)
    package = model_package(model)
    page = package.real_page(cost_model, cost, "cpu")
    with torch.no_grad():
        features = [tuple(each.shape) for each in page.vision().pooler_output]  # of each page, or of each view
        assert sum(tokens for tokens, _ in features) == cost.tokens.total * pages
        assert {each for _, each in features} == {width}
        for _ in range(2):
            assert page.decode_step().past_key_values.get_seq_length() == cost.seq_len + 1
        page.prefill()
    with pytest.raises(ModelMeterError, match="execution=serving has no code here that computes"):
        package.real_page(load_cost_model([*overrides, "execution=serving"], model=model), cost, "cpu")


def test_a_page_of_several_passes_is_run_pass_by_pass() -> None:
    cost_model = load_cost_model([*QWEN2, "workload.regions=[[50,60]]"], model="mineru2_5")
    with pytest.raises(ModelMeterError, match="run a region as a page with workload=region"):
        model_package("qwen2_vl").real_page(cost_model, cost_model.page(200, 200), "cpu")
