"""Faults put into the package one at a time, and the test that has to catch each: `make mutants`.

A mutant is one text of one file replaced by another. The package is copied beside it, so nothing here is ever broken;
the named test runs on the untouched copy first and has to pass, then on each mutant and has to fail. The results are
written to reports/verification/mutants.md. Exit status 1: a mutant survived, or is no mutant any more.

    python -m tests.mutants                # all
    python -m tests.mutants "tie rule"     # one kind

To add one: a line in `MUTANTS`, with a test that is quick.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.measured.cases import CASES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "extern" / "modelmeter"
REPORT = ROOT / "reports" / "verification" / "mutants.md"

#: what pytest returns where tests ran and some failed; anything else is no verdict
TESTS_FAILED = 1

MODEL, COMMON, DECODER = "models/deepseek_ocr", "models/common", "layers/decoder"
CORE, STAGES = f"{MODEL}/layers/core/deepseek_ocr_model.py", f"{COMMON}/vision_language.py"
ENCODER, TILES = f"{COMMON}/deep_encoder.py", f"{COMMON}/tiles.py"
MOE, MASKS, CACHE = f"{DECODER}/moe.py", f"{DECODER}/masks.py", f"{DECODER}/cache.py"
SAM, WORKLOAD = "layers/vision/sam.py", f"{MODEL}/vision_workload.py"
COST_MODEL = f"{COMMON}/cost_model.py"

_MODEL_TESTS = "tests/models/deepseek_ocr"
MEASURED = "tests/measured/test_measured.py::test_the_cost_model_says_what_was_measured"


def measured(*words: str, model: str = "deepseek_ocr") -> str:
    """The test of a model's first measured case that has these words in its name."""
    cases = (case.name for case in CASES if case.model == model)
    return f"{MEASURED}[{model} {next(name for name in cases if all(word in name.split() for word in words))}]"


IN_ORDER = measured("workload.base_size=512", "runtime.attention=flash")
IN_ORDER_PUBLISHED = measured("workload.base_size=512", "execution=published")
PUBLISHED_EAGER = measured("execution=published", "runtime.attention=eager")
WITHOUT_HEAD = measured("runtime.head=none")
SERVING = f"{_MODEL_TESTS}/layers/test_serving_execution.py"
ENGINES = f"{_MODEL_TESTS}/layers/test_engine_executions.py"
IN_WINDOWS = measured("(5,", "6)", "runtime.attention=flash", model="qwen2_5_vl")
IN_WINDOWS_EAGER = measured("(5,", "6)", "runtime.attention=eager", model="qwen2_5_vl")
GLM = measured("(5,", "7)", "runtime.attention=flash", model="glm_ocr")
SPECULATION = "tests/models/common/test_speculation.py"
GRID, PACKED = f"{COMMON}/merged_grid.py", "layers/vision/packed.py"
HUNYUAN, HUNYUAN_TESTS = "models/hunyuan_vl/layers/vision.py", "tests/models/hunyuan_vl"
HUNYUAN_PAGES = measured("(12,", "4)", model="hunyuan_vl")
RESIZED = "tests/models/qwen2_5_vl/test_qwen2_5_vl_workload.py"
REGIONS = "tests/models/qwen2_vl/test_qwen2_vl_regions.py"
QWEN3 = "models/qwen3_vl"
PADDLE, PADDLE_TESTS = "models/paddleocr_vl", "tests/models/paddleocr_vl"
PACKED_SIGLIP = "layers/vision/packed_siglip.py"
TIMES, KERNEL_LAWS, STAGE_TIMES = "devices/stage_time.py", "devices/kernel_laws.py", "tests/devices/test_stage_time.py"
VISION_WORKLOAD, COSTS = f"{_MODEL_TESTS}/test_vision_workload.py", f"{_MODEL_TESTS}/test_cost_model.py"

PLAN, WAYS, FIT = "plan", "tests/plan/test_ways.py", "tests/cli/test_fit.py"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A fault: `old`, which stands once in `file` (below the package), becomes `new`; `test` has to fail then."""

    kind: str
    what: str
    file: str
    old: str
    new: str
    test: str

    def text(self) -> str:
        """The file's text with the fault in it."""
        plain = (PACKAGE / self.file).read_text(encoding="utf-8")
        found = plain.count(self.old)
        if found != 1:
            raise SystemExit(f"mutants: {self.file} has {found} times, not once, the text to replace:\n{self.old}")
        text = plain.replace(self.old, self.new)
        compile(text, self.file, "exec")
        return text


MUTANTS = (
    Mutant(
        kind="held tensor",
        what="published: vision's results die before the decoder runs",
        file=CORE,
        old='_held = self.vision.call_remembered("", *images, inputs_embeds, images_seq_mask)',
        new='self.vision.call_remembered("", *images, inputs_embeds, images_seq_mask)',
        test=measured("runtime.prompt_tokens=900", "execution=published"),
    ),
    Mutant(
        kind="held tensor",
        what="transformers: the towers' features die before the decoder runs",
        file=STAGES,
        old="pooled = outputs[: input_ids.shape[0]]\n",
        new="pooled = outputs[: input_ids.shape[0]]\n            del outputs\n",
        test=measured("runtime.prompt_tokens=900", "execution=transformers"),
    ),
    Mutant(
        kind="held tensor",
        what="serving: the image's tokens live on through the pass",
        file=ENCODER,
        old='self.chain("put_image_tokens", put_rows, inputs_embeds, index, *pages)\n',
        new='self.chain("put_image_tokens", put_rows, inputs_embeds, index, *pages)\n        self._kept = pages\n',
        test=f"{SERVING}::test_a_prefill_that_peaks_in_the_decoder_by_hand",
    ),
    Mutant(
        kind="held tensor",
        what="SAM's block lets go of its norm before the MLP has run",
        file=SAM,
        old="layernorm_output = self.norm2(hidden_states)\n"
        "            return add(hidden_states, self.mlp(layernorm_output))",
        new="return add(hidden_states, self.mlp(self.norm2(hidden_states)))",
        test=f"{_MODEL_TESTS}/layers/test_live_set.py::test_vision[transformers-1]",
    ),
    Mutant(
        kind="operator dropped",
        what="the router's weights are not scaled",
        file=MOE,
        old="        topk_weights = mul(topk_weights)\n",
        new="",
        test=IN_ORDER,
    ),
    Mutant(
        kind="operator doubled",
        what="published: whether there are crops is asked twice",
        file=CORE,
        old="            sum_all(patches)  # are there crops?\n",
        new="            sum_all(patches)\n            sum_all(patches)\n",
        test=IN_ORDER_PUBLISHED,
    ),
    Mutant(
        kind="copy made a view",
        what="contiguous() of what is not row-major copies nothing",
        file="operators.py",
        old="return x if x.is_contiguous else clone(x)",
        new="return x",
        test="tests/test_shape_tensor.py::test_copies_are_named_and_views_are_free",
    ),
    Mutant(
        kind="view made a copy",
        what="the published code's expanded mask is copied for every page",
        file=MASKS,
        old="return mask.unsqueeze(0).unsqueeze(0).expand(batch, 1, tokens, tokens)",
        new="return add(mask.unsqueeze(0).unsqueeze(0).expand(batch, 1, tokens, tokens))",
        test=PUBLISHED_EAGER,
    ),
    Mutant(
        kind="stride rule",
        what="a dimension of size 1 keeps the dimensions around it apart, wherever it lies",
        file="shape_tensor.py",
        old="ends = old == 0 or (shape[old - 1] != 1 and strides[old - 1] != chunk_elems * chunk_stride)",
        new="ends = old == 0 or strides[old - 1] != chunk_elems * chunk_stride",
        test="tests/test_shape_tensor.py::test_a_dimension_of_size_1_lies_anywhere",
    ),
    Mutant(
        kind="stride rule",
        what="a bias whose rows are at a multiple of 4 elements counts as aligned",
        file="operators.py",
        old="BIAS_ALIGNMENT: Final = 8",
        new="BIAS_ALIGNMENT: Final = 4",
        test=f"{_MODEL_TESTS}/layers/test_live_set.py::test_vision[transformers-1]",
    ),
    Mutant(
        kind="tie rule",
        what="a walk names the last operator to reach the peak, not the first",
        file="shape_tensor.py",
        old="if live_bytes > self.peak_bytes:",
        new="if live_bytes >= self.peak_bytes:",
        test="tests/test_shape_tensor.py::test_the_peak_names_the_first_operator_to_reach_it",
    ),
    Mutant(
        kind="tie rule",
        what="of equal sizes a law names the last, not the first",
        file="sizes.py",
        old="if _least(known, size) >= 0:\n                return\n"
        "        kept = [each for each in self.candidates if _least(size, each[0]) <= 0]",
        new="pass\n        kept = [each for each in self.candidates if _least(size, each[0]) < 0]",
        test="tests/test_sizes.py::test_equal_sizes_leave_the_first",
    ),
    Mutant(
        kind="tie rule",
        what="the instrument names the last operator to reach the peak, not the first",
        file="reference/memory.py",
        old="if self.live_bytes > self.peak_bytes:",
        new="if self.live_bytes >= self.peak_bytes:",
        test="tests/reference/test_reference_memory.py::test_the_peak_names_the_first_operator_to_reach_it",
    ),
    Mutant(
        kind="tie rule",
        what="of two grids of one ratio the later wins where the page is exactly large enough, not only beyond",
        file=TILES,
        old="if page_area > half_tile_area * more_columns * more_rows:",
        new="if page_area >= half_tile_area * more_columns * more_rows:",
        test=f"{VISION_WORKLOAD}::test_grid",
    ),
    Mutant(
        kind="tie rule",
        what="the same, of many pages at once",
        file=TILES,
        old="(distance == nearest) & (page_area > least_area)",
        new="(distance == nearest) & (page_area >= least_area)",
        test=f"{_MODEL_TESTS}/test_view_layouts.py::test_edges",
    ),
    Mutant(
        kind="condition of a law",
        what="a law holds whatever the remainder by which a size was divided",
        file="sizes.py",
        old="            self.variables.note(self.terms, ZERO, other, remainder)\n",
        new="            pass\n",
        test="tests/test_sizes.py::test_a_decision_holds_where_it_would_be_the_same",
    ),
    Mutant(
        kind="condition of a law",
        what="a stage's law is asked for none of its conditions",
        file="models/common/laws.py",
        old="compiled(variables.values, figures, variables.conditions)",
        new="compiled(variables.values, figures)",
        test=f"{_MODEL_TESTS}/test_laws.py::test_prompts[unusual]",
    ),
    Mutant(
        kind="decode steps",
        what="the sum over steps grows once too often",
        file="models/common/stage_cost.py",
        old="pairs = steps * (steps - 1) // 2",
        new="pairs = steps * (steps + 1) // 2",
        test=f"{COSTS}::test_decode_in_closed_form_is_the_sum_of_its_steps",
    ),
    Mutant(
        kind="decode steps",
        what="the last step is one too far",
        file=COST_MODEL,
        old="step(run.first + (run.count - 1) * run.period)",
        new="step(run.first + run.count * run.period)",
        test=f"{_MODEL_TESTS}/test_laws.py::test_runs_of_steps[unusual]",
    ),
    Mutant(
        kind="weights",
        what="the parts that the vision stage calls are counted twice",
        file=STAGES,
        old='elif name not in ("vision", "text", "drafted"):',
        new='elif name not in ("text", "drafted"):',
        test=WITHOUT_HEAD,
    ),
    Mutant(
        kind="weights",
        what="the separator is none of the vision stage's weights",
        file=ENCODER,
        old="sum(each.nbytes for each in self.separators())",
        new="sum(each.nbytes for each in self.separators()[:1])",
        test=WITHOUT_HEAD,
    ),
    Mutant(
        kind="KV cache",
        what="a step adds the cache that it was given once more",
        file=COST_MODEL,
        old="kv_added_bytes=kv_bytes - given_bytes,",
        new="kv_added_bytes=kv_bytes,",
        test=WITHOUT_HEAD,
    ),
    Mutant(
        kind="KV cache",
        what="new values are no part of the cache",
        file=CACHE,
        old="state.items[1] = cat((state.items[1], value_states), 2, KV)",
        new="state.items[1] = cat((state.items[1], value_states), 2)",
        test=WITHOUT_HEAD,
    ),
    Mutant(
        kind="experts",
        what="a token hits one expert, not k",
        file=COST_MODEL,
        old="most = int(min(experts, top_k * tokens))",
        new="most = int(min(experts, tokens))",
        test=f"{COSTS}::test_experts_hit",
    ),
    Mutant(
        kind="experts",
        what="the second product reads all experts' weights",
        file=MOE,
        old="hit_bytes = round(experts_hit * all_bytes / self.num_experts)",
        new="hit_bytes = all_bytes",
        test=f"{SERVING}::test_a_step_by_hand",
    ),
    Mutant(
        kind="tokens",
        what="no newline after the rows of the global view",
        file=WORKLOAD,
        old="global_tokens = (side + 1) * side + 1",
        new="global_tokens = side * side + 1",
        test=f"{VISION_WORKLOAD}::test_tokens",
    ),
    Mutant(
        kind="tokens",
        what="serving: no newline after the rows of a grid",
        file=ENCODER,
        old="return cat((features, newline.view(1, 1, -1).expand(rows, 1, -1)), 1).view(-1, width)",
        new="return features.view(-1, width)",
        test=f"{SERVING}::test_image_tokens_by_hand",
    ),
    Mutant(
        kind="override",
        what="a mode or an engine wins over a key beside it",
        file=f"{COMMON}/configuration.py",
        old="sorted(pairs, key=lambda pair: pair[0] not in groups)",
        new="sorted(pairs, key=lambda pair: pair[0] in groups)",
        test="tests/models/common/test_plain_overrides.py::test_what_is_composed_is_what_hydra_composes[deepseek_ocr]",
    ),
    Mutant(
        kind="engines",
        what="the image's tokens leave the cache before the decoder runs",
        file=ENCODER,
        old="given = self.embed_cached(input_ids, *pages)\n",
        new="given = self.embed_cached(input_ids, *pages)\n        del pages\n",
        test=f"{ENGINES}::test_a_peak_within_the_block_is_the_blocks",
    ),
    Mutant(
        kind="engines",
        what="a peak in the block of experts is called by its kernel's name",
        file="shape_tensor.py",
        old="operator = self.block or operator",
        new="operator = operator",
        test=f"{ENGINES}::test_a_peak_within_the_block_is_the_blocks",
    ),
    Mutant(
        kind="engines",
        what="the second product of the experts does not weight its rows",
        file=MOE,
        old="down_bytes, order, top_k_weights)",
        new="down_bytes, order)",
        test=f"{ENGINES}::test_a_step_by_hand",
    ),
    Mutant(
        kind="engines",
        what="attention writes no log-sum-exp",
        file=f"{DECODER}/attention.py",
        old=", log_sum_exp=log_sum_exp)",
        new=")",
        test=f"{ENGINES}::test_a_step_by_hand",
    ),
    Mutant(
        kind="engines",
        what="sglang takes the global view before the crops",
        file=ENCODER,
        old='("tiles", "global") if loop.first == "tiles" else ("global", "tiles")',
        new='("global", "tiles")',
        test=f"{ENGINES}::test_pages_one_after_another_by_hand",
    ),
    Mutant(
        kind="table of vector FLOPs",
        what="silu takes five FLOPs an element",
        file="operators.py",
        old='"silu": 4,',
        new='"silu": 5,',
        test=f"{SERVING}::test_a_step_by_hand",
    ),
    Mutant(
        kind="table of vector FLOPs",
        what="a change of sign is rated as a cosine",
        file="operators.py",
        old='_pointwise("neg", "aten.neg.default"',
        new='_pointwise("cos", "aten.neg.default"',
        test=WITHOUT_HEAD,
    ),
    Mutant(
        kind="elements",
        what="a mean works through what it gives, not what it reads",
        file="operators.py",
        old='_record("mean", "aten.mean.dim", "reduction", (x,), (out,), elements=x.numel)',
        new='_record("mean", "aten.mean.dim", "reduction", (x,), (out,), elements=out.numel)',
        test=WITHOUT_HEAD,
    ),
    Mutant(
        kind="traffic",
        what="a gather reads its whole table",
        file="operators.py",
        old='_record("gather", aten, "gather", inputs, (out,), elements=out.numel, delivered=read)',
        new='_record("gather", aten, "gather", inputs, (out,), elements=out.numel)',
        test=IN_ORDER,
    ),
    Mutant(
        kind="mask",
        what="the sliding window's mask has no window",
        file=MASKS,
        old='    seen = both(seen, compare("aten.gt.Tensor", keys, sub(queries).unsqueeze(1)))\n',
        new="",
        test=IN_ORDER,
    ),
    Mutant(
        kind="mask",
        what="the published code makes a mask for a single token",
        file=MASKS,
        old="    if tokens == 1:\n        return None\n",
        new="",
        test=PUBLISHED_EAGER,
    ),
    Mutant(
        kind="path",
        what="published: the crops' tower stands under the global view's name",
        file=CORE,
        old='self.tower.sam_model.call_remembered("crops.sam_model", patches)',
        new='self.tower.sam_model.call_remembered("global.sam_model", patches)',
        test=IN_ORDER_PUBLISHED,
    ),
    Mutant(
        kind="path",
        what="the instrument takes every run of the tower for the first branch's",
        file="models/common/reference/deep_encoder_names.py",
        old="    branch = branches[run % len(branches)]\n",
        new="    branch = branches[0]\n",
        test="tests/models/deepseek_ocr/reference/test_reference_page.py::test_where_a_module_stands",
    ),
    Mutant(
        kind="image rule",
        what="a page above the limit is rounded to the nearest side, not down",
        file=GRID,
        old="math.floor(side / beta / factor) * factor",
        new="round(side / beta / factor) * factor",
        test=f"{RESIZED}::test_the_librarys_function_resizes_alike",
    ),
    Mutant(
        kind="image rule",
        what="many pages: half of a token is rounded up, not to the even side",
        file=GRID,
        old="resized = np.rint(sides / factor).astype(np.int64) * factor",
        new="resized = np.floor(sides / factor + 0.5).astype(np.int64) * factor",
        test=f"{RESIZED}::test_the_librarys_function_resizes_alike",
    ),
    Mutant(
        kind="image rule",
        what="a page of exactly the largest area is scaled down",
        file=GRID,
        old="if frames * width_bar * height_bar > max_pixels:",
        new="if frames * width_bar * height_bar >= max_pixels:",
        test=f"{RESIZED}::test_the_librarys_function_resizes_alike",
    ),
    Mutant(
        kind="tiles",
        what="a page that is one tile has a view of all of it, too",
        file="models/common/patches_grid.py",
        old="return PatchesGrid(tiles, columns, rows) if tiles > 1 else UNCUT",
        new="return PatchesGrid(tiles, columns, rows)",
        test="tests/models/qianfan_ocr/test_qianfan_workload.py::test_worked_examples",
    ),
    Mutant(
        kind="tiles",
        what="many pages: one tile is taken for no tile",
        file=f"{COMMON}/patches_grid.py",
        old="if self.min_patches == 1 and one_tile != UNCUT:",
        new="if self.min_patches == 0 and one_tile != UNCUT:",
        test="tests/models/deepseek_ocr2/test_deepseek_ocr2_workload.py"
        "::test_a_page_cut_into_one_tile_is_told_from_one_that_is_not",
    ),
    Mutant(
        kind="tiles",
        what="what a block's attention gives is held until it is added, scaled",
        file="models/qianfan_ocr/layers/vision.py",
        old="        hidden_states = scaled(self.lambda_1, hidden_states)\n"
        "        hidden_states = add(hidden_states, residual)\n",
        new="        hidden_states = add(scaled(self.lambda_1, hidden_states), residual)\n",
        test="tests/models/qianfan_ocr/test_qianfan_truth.py::test_operators_one_by_one",
    ),
    Mutant(
        kind="tiles",
        what="vllm: attention over views writes no log-sum-exp",
        file="models/qianfan_ocr/executions.py",
        old='names_kept=True, starts_made="layer"',
        new="names_kept=True",
        test="tests/models/qianfan_ocr/test_qianfan_engines.py::test_vision_kernel_by_kernel",
    ),
    Mutant(
        kind="window",
        what="the windows below are as high as whole ones",
        file=PACKED,
        old="*(row(across, right, below) if below else ())",
        new="*(row(across, right, self.side) if below else ())",
        test=IN_WINDOWS,
    ),
    Mutant(
        kind="window",
        what="an engine's windows at the right edge are as many as those below",
        file=PACKED,
        old="(down if right else 0, right * self.side)",
        new="(across if right else 0, right * self.side)",
        test="tests/models/qwen2_5_vl/test_qwen2_5_vl_serving.py::test_the_same_products_and_less_of_everything_else",
    ),
    Mutant(
        kind="merger",
        what="the merger lets its normed patches go before its MLP",
        file=PACKED,
        old="merged = normed = normed.view(-1, self.width)  # held to the end, as the MLP's argument",
        new="merged = normed.view(-1, self.width)\n        del normed",
        test="tests/models/test_packed_merger.py::test_it_is_the_librarys",
    ),
    Mutant(
        kind="grouped heads",
        what="eager attention reads grouped KV heads as they are",
        file=f"{DECODER}/attention.py",
        old="    if groups == 1:\n        return x\n",
        new="    return x\n",
        test=IN_WINDOWS_EAGER,
    ),
    Mutant(
        kind="rotary axes",
        what="sections of frequencies are told by one coordinate alone",
        file=f"{DECODER}/rotary.py",
        old="        if len(self.sections) > 1:\n            return self.forward_by_section(inv_freq, position_ids)\n",
        new="        if len(self.sections) > 1:\n            position_ids = position_ids.select(0, 0)\n",
        test=IN_WINDOWS,
    ),
    Mutant(
        kind="SigLIP tower",
        what="weights of the tower's attention die with it",
        file=PACKED_SIGLIP,
        old="        return self.out_proj(attn_output), Repeated(attended.times, attended.result[1])\n",
        new="        return self.out_proj(attn_output), None\n",
        test="tests/models/test_layer_cases.py::test_a_wrong_layer_is_seen[weights that a block does not hold]",
    ),
    Mutant(
        kind="SigLIP tower",
        what="a patch is given one row of the table of positions",
        file=PACKED_SIGLIP,
        old="TAPS: Final = 4\n",
        new="TAPS: Final = 1\n",
        test=measured("(5,", "7)", "runtime.attention=flash", model="paddleocr_vl"),
    ),
    Mutant(
        kind="image rule",
        what="a side of less than a token is not scaled up first",
        file=f"{PADDLE}/workload.py",
        old="        if height < side:\n",
        new="        if height < side // 4:\n",
        test=f"{PADDLE_TESTS}/test_paddleocr_vl_workload.py::test_a_side_of_less_than_a_token_is_scaled_up_first",
    ),
    Mutant(
        kind="engines",
        what="vLLM turns queries and keys without a cast to float32",
        file=PACKED_SIGLIP,
        old='        wide = to(query_key, "float32")\n',
        new="        wide = query_key\n",
        test=f"{PADDLE_TESTS}/test_paddleocr_vl_engines.py::test_kernel_by_kernel",
    ),
    Mutant(
        kind="passes",
        what="a page whose regions a detector finds is a pass over the whole page, too",
        file=f"{COMMON}/regions.py",
        old="        whole = None if self.detector else layout\n        return self.declared.passes(whole,",
        new='        return replace(self.declared, detector="").passes(layout,',
        test=f"{PADDLE_TESTS}/test_paddleocr_vl_regions.py::test_a_page_is_the_sum_of_its_regions",
    ),
    Mutant(
        kind="passes",
        what="all rows of a table are one page's",
        file=f"{COMMON}/region_tables.py",
        old='for name, sides in rows if page in ("", name)]',
        new="for _, sides in rows]",
        test="tests/models/common/test_region_tables.py::test_a_table_stands_for_its_list",
    ),
    Mutant(
        kind="passes",
        what="the caches of a page's passes add up",
        file=f"{COMMON}/stage_cost.py",
        old="figures |= {name: max((getattr(stage, name) for stage, _ in stages), default=0) for name in LARGEST}",
        new="figures |= {name: sum(getattr(stage, name) for stage, _ in stages) for name in LARGEST}",
        test=f"{REGIONS}::test_a_page_is_the_sum_of_its_passes",
    ),
    Mutant(
        kind="passes",
        what="a region is resized without an edge of 28 pixels first",
        file="models/qwen2_vl/workload.py",
        old="        if edge is not None and min(width, height) < edge:\n",
        new="        if edge is not None and min(width, height) < edge // 2:\n",
        test=f"{REGIONS}::test_a_region_is_resized_as_the_published_client_does",
    ),
    Mutant(
        kind="passes",
        what="throughput takes a page's first pass for the page",
        file="devices/pages.py",
        old="for number, (page, _) in enumerate(said[0][0]):",
        new="for number, (page, _) in enumerate(said[0][0][:1]):",
        test="tests/devices/test_throughput.py::test_a_page_of_several_passes_takes_the_sum_of_theirs",
    ),
    Mutant(
        kind="operator dropped",
        what="HunyuanOCR's positions of a page are not repeated for its one frame",
        file=HUNYUAN,
        old='return clone(positions, "aten.repeat.default")',
        new="return positions",
        test=HUNYUAN_PAGES,
    ),
    Mutant(
        kind="tokens",
        what="HunyuanOCR's merger writes no newlines",
        file=HUNYUAN,
        old="expand(batch, channels, rows, 1)",
        new="expand(batch, channels, rows, 0)",
        test=f"{HUNYUAN_TESTS}/test_hunyuan_truth.py::test_flops_in_closed_form",
    ),
    Mutant(
        kind="engines",
        what="norms of queries and keys come before they turn, whatever is said",
        file=f"{DECODER}/decoder.py",
        old="            norm_after_rotary=norm_after_rotary,\n",
        new="            norm_after_rotary=False,\n",
        test=f"{HUNYUAN_TESTS}/test_hunyuan_engines.py::test_a_prompt_and_a_step_of_vllm",
    ),
    Mutant(
        kind="rotary axes",
        what="rotary tables are never doubled before their sections are chosen",
        file=f"{DECODER}/rotary.py",
        old="if self.traits(DecoderTraits).sections_doubled:",
        new="if self.traits(DecoderTraits).sections_doubled and self.dtype == 'none':",
        test=HUNYUAN_PAGES,
    ),
    Mutant(
        kind="time",
        what="a time of kernels that come several times counts them once",
        file=TIMES,
        old="each.count, self._seconds(each) * each.count",
        new="each.count, self._seconds(each)",
        test=f"{STAGE_TIMES}::test_laws_are_walks",
    ),
    Mutant(
        kind="time",
        what="steps are summed from one context too far",
        file=TIMES,
        old="begin, end = np.where(used, starts - first, 0), np.where(used, starts + counts - first, 0)",
        new="begin, end = np.where(used, starts - first + 1, 0), np.where(used, starts + counts - first, 0)",
        test=f"{STAGE_TIMES}::test_decode_is_the_sum_of_its_steps",
    ),
    Mutant(
        kind="time",
        what="a law of kernels leaves out its conditions",
        file=KERNEL_LAWS,
        old="        return self._holds(**values)\n",
        new="        return self._holds(**values) | True\n",
        test=f"{STAGE_TIMES}::test_laws_are_walks",
    ),
    Mutant(
        kind="time",
        what="a law of kernels multiplies variables without their exponents",
        file=KERNEL_LAWS,
        old="products[:, column] *= values[name] ** exponent",
        new="products[:, column] *= values[name]",
        test=f"{STAGE_TIMES}::test_laws_are_walks",
    ),
    Mutant(
        kind="held tensor",
        what="DeepStack: what a layer gives dies once its features are added",
        file=f"{DECODER}/decoder.py",
        old="_kept = hidden_states if self.layer_outputs_kept else None",
        new="_kept = None",
        test="tests/layers/decoder/test_library_decoders.py::test_features_are_added_after_the_first_layers",
    ),
    Mutant(
        kind="merger",
        what="DeepStack: features of a block are normalised patch by patch",
        file=f"{QWEN3}/tower.py",
        old="merged, use_postshuffle_norm=True, **settings)",
        new="merged, use_postshuffle_norm=False, **settings)",
        test=measured("runtime.attention=flash", model="qwen3_vl"),
    ),
    Mutant(
        kind="image rule",
        what="Chandra: a side that is scaled down is rounded up",
        file=f"{QWEN3}/workload.py",
        old="return math.floor(width * scale), math.floor(height * scale)",
        new="return math.ceil(width * scale), math.ceil(height * scale)",
        test="tests/models/qwen3_vl/test_qwen3_vl_workload.py::test_chandra_scales_a_page_first",
    ),
    Mutant(
        kind="engines",
        what="vLLM: a step adds no features, since its tokens are no image's",
        file=f"{QWEN3}/model.py",
        old="return copied, Deepstack(None, buffers)",
        new="return copied, Deepstack(None, buffers) if pages else None",
        test="tests/models/qwen3_vl/test_qwen3_vl_engines.py::test_kernel_by_kernel",
    ),
    Mutant(
        kind="stride rule",
        what="what flash attention gives lies page by page, whatever its query",
        file="operators.py",
        old="out = tape.new(query.shape, query.dtype, pointwise_strides(((query.shape, query.strides),)))",
        new="out = _attended(query)",
        test=GLM,
    ),
    Mutant(
        kind="image rule",
        what="the limits are of one frame",
        file="models/glm_ocr/workload.py",
        old="frames: ClassVar[int] = 2",
        new="frames: ClassVar[int] = 1",
        test="tests/models/glm_ocr/test_glm_ocr_workload.py::test_the_librarys_function_resizes_alike",
    ),
    Mutant(
        kind="speculation",
        what="steps of several queries grow evenly whatever a mask's rows are aligned to",
        file=f"{COMMON}/speculation.py",
        old="cycles = alignment // gcd(grown, alignment)",
        new="cycles = 1",
        test=f"{SPECULATION}::test_all_steps_are_the_sum_of_each",
    ),
    Mutant(
        kind="speculation",
        what="the head is over the last position of a step alone",
        file=STAGES,
        old='if self.rows > 1 and head != "none":',
        new='if self.rows > 1 and head == "all":',
        test=f"{SPECULATION}::test_a_step_costs_what_its_positions_cost",
    ),
    Mutant(
        kind="speculation",
        what="the further layer runs once more than there are proposals",
        file=f"{COMMON}/drafting.py",
        old="range(self.drafts - 1)",
        new="range(self.drafts)",
        test=f"{SPECULATION}::test_the_further_layer_of_glm_ocr",
    ),
    Mutant(
        kind="precision",
        what="groups that do not divide the columns are packed all the same",
        file="packing.py",
        old="if not self.divides or columns % (self.columns or 1) == 0:",
        new="if True:",
        test="tests/models/common/test_precision.py::test_files_of_the_decoder_are_those_published",
    ),
    Mutant(
        kind="precision",
        what="scales of fp8 activations are written by nobody",
        file="operators.py",
        old="if operands.scale_columns != 0:",
        new="if operands.scale_columns == -1:",
        test="tests/test_packing.py::test_activations_are_turned_to_the_type_of_the_weights_before",
    ),
    Mutant(
        kind="precision",
        what="kernels over packed weights take the factors of bfloat16",
        file=TIMES,
        old="if kernels.kernel_class in OF_PACKED and packed:",
        new="if kernels.kernel_class in OF_PACKED and packed == dtype:",
        test="tests/devices/test_packed.py::test_a_gemm_over_packed_weights_by_hand",
    ),
    Mutant(
        kind="image rule",
        what="Idefics3: the shorter side of a page is made no even number",
        file="models/idefics3/workload.py",
        old="other = other + other % 2",
        new="other = other + 0",
        test="tests/models/idefics3/test_idefics3_workload.py::test_the_librarys_size_functions_cut_alike",
    ),
    Mutant(
        kind="image rule",
        what="Granite-Docling: tiles without a limit a side",
        file="models/granite_docling/workload.py",
        old="most_a_side: ClassVar[int] = 16",
        new="most_a_side: ClassVar[int] = 32",
        test="tests/models/granite_docling/test_granite_docling_workload.py::test_worked_examples",
    ),
    Mutant(
        kind="elements",
        what="Idefics3: boundaries of positions are one fewer than patches, whatever a float is above its share",
        file="models/idefics3/layers/vision.py",
        old="many = ceil((1.0 - step) / step)",
        new="many = self.num_patches_per_side - 1 + 0 * ceil(step)",
        test=measured("vision.image_size=384", model="idefics3"),
    ),
    Mutant(
        kind="operator dropped",
        what="Granite's decoder: what attention and MLP make is not multiplied",
        file=f"{DECODER}/block.py",
        old="return add(residual, mul(hidden_states) if self.multiplied else hidden_states)",
        new="return add(residual, hidden_states)",
        test=measured("workload.route=fine", model="granite_docling"),
    ),
    Mutant(
        kind="comparison",
        what="output beyond a model's positions is counted as if there were room",
        file="compare/rows.py",
        old="taken = min(wanted, room)",
        new="taken = min(wanted, room + 1)",
        test="tests/compare/test_rows.py::test_output_beyond_the_positions_is_cut_off_and_counted",
    ),
    Mutant(
        kind="comparison",
        what="pages of several layouts and texts are added to those of the text before",
        file="compare/pages.py",
        old="keys = np.asarray(indices) * len(self.outputs) + self.said",
        new="keys = np.asarray(indices) * len(self.outputs) + 0 * self.said",
        test="tests/compare/test_rows.py::test_pages_of_one_layout_are_one",
    ),
    Mutant(
        kind="comparison",
        what="a published figure of no mode stands with every mode",
        file="compare/choice.py",
        old="if each is not None and (own or each.mode is not None)",
        new="if each is not None",
        test="tests/compare/test_choice.py::test_a_figure_of_no_mode_is_the_own_mode_s_alone",
    ),
    Mutant(
        kind="comparison",
        what="a row that costs more for the same quality is efficient",
        file="search.py",
        old="all(one <= two for one, two in",
        new="all(one < two for one, two in",
        test="tests/compare/test_choice.py::test_efficient_is_what_no_other_beats",
    ),
    Mutant(
        kind="plan",
        what="replicas are rounded down",
        file=f"{PLAN}/ways.py",
        old="FULL) * capacity)) + 1",
        new="FULL) * capacity)) or 1",
        test=f"{WAYS}::test_it_is_the_first_of_all_numbers",
    ),
    Mutant(
        kind="plan",
        what="the slow end of the interval is the predicted value",
        file=f"{PLAN}/ways.py",
        old="slow, _ = self._replicas(SLOW)",
        new="slow, _ = self._replicas(VALUE)",
        test=f"{WAYS}::test_it_is_the_first_of_all_numbers",
    ),
    Mutant(
        kind="plan",
        what="what decides is looked for with as many replicas as there are",
        file=f"{PLAN}/ways.py",
        old="list(self._short(case, replicas - 1))",
        new="list(self._short(case, replicas))",
        test=f"{WAYS}::test_what_decides",
    ),
    Mutant(
        kind="plan",
        what="spare GPUs cost nothing",
        file=f"{PLAN}/ways.py",
        old="return replicas + question.spare",
        new="return replicas",
        test=f"{WAYS}::test_money_and_energy_by_hand",
    ),
    Mutant(
        kind="plan",
        what="a way is pruned by its bound beside the cheapest that was found, whatever that costs",
        file=f"{PLAN}/ways.py",
        old="if key(ways[number]) <= bound:",
        new="if not costs or bound == inf:",
        test=f"{WAYS}::test_what_is_cheaper_by_its_bound_alone_does_not_win",
    ),
    Mutant(
        kind="plan",
        what="a higher edit distance reads better",
        file=f"{PLAN}/ways.py",
        old='(-1 if way.quality.better == "higher" else 1)',
        new="-1",
        test=f"{WAYS}::test_efficient_ways_by_hand",
    ),
    Mutant(
        kind="plan",
        what="the price at which a loser is as cheap is told of the GPUs of the best",
        file=f"{PLAN}/verdict.py",
        old="{best / gpus / HOURS_A_MONTH:.3g} an hour",
        new="{best / fewest / HOURS_A_MONTH:.3g} an hour",
        test=f"{WAYS}::test_the_cheaper_wins_and_the_others_say_why",
    ),
    Mutant(
        kind="plan",
        what="a month has 30 days",
        file=f"{PLAN}/demand.py",
        old='"month": 2_629_800,',
        new='"month": 2_592_000,',
        test="tests/plan/test_demand.py::test_a_month_is_the_twelfth_part_of_a_year",
    ),
    Mutant(
        kind="simulation",
        what="a page waits for a worker that has long been idle",
        file="simulation/arrivals.py",
        old="begin = max(arrival_s, heapq.heappop(self._free_at))",
        new="begin = arrival_s + heapq.heappop(self._free_at)",
        test="tests/simulation/test_theory.py::test_one_in_flight_adds_host_and_device",
    ),
    Mutant(
        kind="simulation",
        what="the next request of a closed loop is sent when the one before it arrived",
        file="simulation/arrivals.py",
        old="self._send(request.done_s)",
        new="self._send(request.arrival_s)",
        test="tests/simulation/test_theory.py::test_one_in_flight_adds_host_and_device",
    ),
    Mutant(
        kind="simulation",
        what="pages that run away are as many as the others",
        file="simulation/load.py",
        old="drawn.weights.append(float(output.share))",
        new="drawn.weights.append(1.0)",
        test=f"{WAYS}::test_pages_that_run_away_take_a_replica_longer",
    ),
    Mutant(
        kind="precision",
        what="the last group of a row that is not full has no scale",
        file="packing.py",
        old="ceil_div(columns, self.columns or columns)",
        new="(columns // (self.columns or columns))",
        test="tests/test_packing.py::test_groups_that_do_not_divide_the_columns",
    ),
    Mutant(
        kind="precision",
        what="the best precision is the fastest",
        file="devices/precision_fit.py",
        old="key=lambda each: (each.bits or 0, each.pages_per_s.value if each.pages_per_s else 0),",
        new="key=lambda each: each.pages_per_s.value if each.pages_per_s else 0,",
        test=f"{FIT}::test_the_best_has_most_bits_and_the_fastest_most_pages",
    ),
    Mutant(
        kind="precision",
        what="a context longer than the model has positions fits",
        file="devices/precision_fit.py",
        old="else min(pool.tokens, limit)",
        new="else pool.tokens",
        test=f"{FIT}::test_what_is_left_beside_the_weights_by_hand",
    ),
    Mutant(
        kind="law as data",
        what="a kernel of experts keeps the weights of top_k experts beside those that are hit",
        file="laws/law_set.py",
        old='rest = least - int(each) * experts["top_k"]',
        new="rest = least",
        test="tests/laws/test_vectors.py::test_the_vectors_of_every_engine_hold[vllm]",
    ),
    Mutant(
        kind="law as data",
        what="conditions on remainders are written as conditions on values",
        file="laws/tables.py",
        old="condition.outcome, condition.modulus, condition.than",
        new="condition.outcome, 0, condition.than",
        test="tests/laws/test_vectors.py::test_the_vectors_of_every_model_hold[qwen2_5_vl]",
    ),
    Mutant(
        kind="law as data",
        what="the image rule as data forgets that a page stands for two frames",
        file="models/common/merged_grid.py",
        old='"frames": self.frames,',
        new='"frames": 1,',
        test="tests/laws/test_vectors.py::test_the_rule_of_every_mode_is_the_workloads[glm_ocr-page]",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a mutant: the tests that failed, none where it survived; and pytest's output."""

    mutant: Mutant
    failed: tuple[str, ...]
    output: str


def copied(folder: Path) -> Path:
    """A copy of the package below `folder`; what was compiled is kept."""
    shutil.copytree(PACKAGE, folder / "modelmeter")
    return folder


def pytest(folder: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests on the package in `folder`, which is where they have to find it."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis")}
    where = [sys.executable, "-c", "import modelmeter; print(modelmeter.__file__)"]
    found = subprocess.run(where, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if not Path(found).is_relative_to(folder):
        raise SystemExit(f"mutants: the tests would run on {found.strip()}, not on the copy in {folder}.")
    options = ("-n", "0", "-p", "no:cacheprovider", "--tb=line", "-rf")
    command = [sys.executable, "-m", "pytest", *options, *tests]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def run_mutant(mutant: Mutant) -> Verdict:
    """Put one fault into a copy of the package and run its test on that."""
    text = mutant.text()
    with tempfile.TemporaryDirectory() as folder:
        package = copied(Path(folder))
        (package / "modelmeter" / mutant.file).write_text(text, encoding="utf-8")
        done = pytest(package, [mutant.test])
    failed = [
        line.removeprefix("FAILED ").partition(" - ")[0]
        for line in done.stdout.splitlines()
        if line.startswith("FAILED ")
    ]
    caught = done.returncode == TESTS_FAILED
    return Verdict(mutant=mutant, failed=tuple(failed) if caught else (), output=done.stdout + done.stderr)


def check_unmutated(mutants: Sequence[Mutant]) -> None:
    """Refuse to judge by tests that fail on the package as it is."""
    with tempfile.TemporaryDirectory() as folder:
        done = pytest(copied(Path(folder)), sorted({mutant.test for mutant in mutants}))
    if done.returncode:
        raise SystemExit(f"mutants: the tests do not pass on the package as it is:\n{done.stdout}{done.stderr}")


def report_text(mutants: Sequence[Mutant]) -> str:
    """reports/verification/mutants.md, where every mutant is caught."""
    lines = [
        "# Faults that tests must catch",
        "",
        "Written by `make mutants`: each fault is put into a copy of the package, alone, and the test beside it fails;",
        "on the package as it is the same tests pass. The texts that are replaced stand in tests/mutants.py.",
        "",
        f"{len(mutants)} faults of {len({mutant.kind for mutant in mutants})} kinds, {len(mutants)} caught.",
        "",
        "| kind | fault | file | caught by |",
        "|---|---|---|---|",
    ]
    for mutant in sorted(mutants, key=lambda mutant: mutant.kind):
        lines.append(f"| {mutant.kind} | {mutant.what} | `{mutant.file}` | `{mutant.test}` |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str], mutants: Sequence[Mutant] = MUTANTS, report: Path | None = REPORT) -> int:
    """Run the mutants of the kinds that are named, all without a name: then, if all are caught, write the report."""
    kinds = {mutant.kind for mutant in mutants}
    unknown = [kind for kind in arguments if kind not in kinds]
    if unknown:
        raise SystemExit(f"mutants: there is no kind {unknown[0]}; there are {', '.join(sorted(kinds))}.")
    chosen = [mutant for mutant in mutants if not arguments or mutant.kind in arguments]
    for mutant in chosen:
        mutant.text()
    check_unmutated(chosen)
    survived = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for verdict in pool.map(run_mutant, chosen):
            survived += not verdict.failed
            print(f"{'caught' if verdict.failed else 'SURVIVED'}: {verdict.mutant.kind}: {verdict.mutant.what}")
            for test in verdict.failed or (verdict.mutant.test,):
                print(f"    {test}")
            if not verdict.failed:
                print(verdict.output)
    print(f"{len(chosen) - survived} of {len(chosen)} mutants caught")
    if report is not None and not arguments and not survived:
        report.write_text(report_text(chosen), encoding="utf-8")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
