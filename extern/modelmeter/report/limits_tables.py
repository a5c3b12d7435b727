"""What limits an engine: on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from modelmeter.devices.engine_limits import POOL
from modelmeter.models.common.profile_run import VISION
from modelmeter.quantities import estimated, exact, readable
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table, label_lines

if TYPE_CHECKING:
    from rich.table import Table

    from modelmeter.devices.engine_limits import EngineLimits, Setting
    from modelmeter.models.common.contract import CostModel

#: how an engine's server is started, what it calls our settings, how many devices the model is split over, and a cache
#: of precision.kv=fp8
SERVERS: Final[Mapping[str, tuple[str, Mapping[str, str], str, str]]] = {
    "vllm": (
        "vllm serve",
        {
            "max_model_len": "--max-model-len",
            "max_num_seqs": "--max-num-seqs",
            "max_num_batched_tokens": "--max-num-batched-tokens",
            "gpu_memory_utilization": "--gpu-memory-utilization",
        },
        "--tensor-parallel-size",
        "--kv-cache-dtype fp8",
    ),
    "sglang": (
        "python -m sglang.launch_server --model-path",
        {
            "max_model_len": "--context-length",
            "max_num_seqs": "--max-running-requests",
            "max_num_batched_tokens": "--chunked-prefill-size",
            "gpu_memory_utilization": "--mem-fraction-static",
        },
        "--tp-size",
        "--kv-cache-dtype fp8_e4m3",
    ),
}

#: what the lines of the tables mean
MEANINGS: Final = (
    ("memory of the device", "what nvidia-smi tells; CUDA has 0.5 to 0.9 GiB less, which is in what is beside the run"),
    ("profile run", "what vLLM's run at its start held at most, of images, decoder and sampler the largest"),
    ("beside it", "memory that is not torch's, and the driver's: one figure, fitted on three printed pools"),
    ("requests of max_model_len", 'what vLLM prints as "Maximum concurrency for N tokens per request"'),
    ("longest pages in the pool", "of the page with most tokens, prompt and output, in whole blocks, to its end"),
    ("average pages in the pool", "of the average page at its average moment: as many fit if some may be preempted"),
    ("decided by", "what allows the fewest pages at once: the pool, or max_num_seqs"),
    ("images of a step", "as many as the encoder budget, or of SGLang a prefill's tokens, let run at once"),
    ("these pages: vision", "encoding those, beside what the encoder cache holds of others"),
    ("these pages: decoder", "a pass of max_num_batched_tokens with a full encoder cache, logits of all requests"),
    ("beyond the engine's share", "what the larger of the two needs more than the engine reserved"),
    ("room for context and graphs", "what is left alone of the memory, less that"),
    ("encoder cache", "image embeddings that vLLM keeps for requests: its budget of tokens, their bytes, pages"),
)


def pool_table(answer: EngineLimits) -> Fitting:
    """How the pool comes about, line by line."""
    now = answer.now
    table = figures_table("KV pool", "bytes", "", "from")
    table.columns[3].justify = "left"
    rows = [
        ("memory of the device", answer.device.memory_bytes, "its file"),
        (f"x {now.settings.gpu_memory_utilization:.4g} of it", now.share_bytes, "engine.gpu_memory_utilization"),
        ("- weights", -now.weight_bytes, "counted"),
        *_reserve_rows(answer),
        (
            "= pool",
            now.pool.tokens * now.pool.token_bytes,
            f"{now.pool.tokens:,} tokens in blocks of {now.pool.block_size}",
        ),
        ("a token", now.pool.token_bytes, "counted"),
    ]
    for name, nbytes, origin in rows:
        table.add_row(name, exact(nbytes), readable(nbytes, "B"), origin)
    return Fitting(table=table, spare=("bytes",), folding=("from",))


def _reserve_rows(answer: EngineLimits) -> Iterator[tuple[str, int, str]]:
    now = answer.now
    if now.run is None or answer.reserve_given:
        yield "- reserve", -now.reserve_bytes, "engine.reserve_bytes"
        return
    yield f"- profile run: {now.run.peak_part}", -now.run.peak_bytes, "counted, below"
    yield "- beside it", now.run.peak_bytes - now.reserve_bytes, "fitted, engine.other_bytes"


def limits_table(answer: EngineLimits) -> Fitting:
    """What holds as the engine is set, and as it is advised."""
    table = figures_table("limits", "now", "advised")
    sides = answer.now, answer.advised
    groups = list(zip(*(list(_groups(answer, each)) for each in sides), strict=True))
    for group in groups:
        rows = list(zip(*group, strict=True))
        for index, ((name, now), (_, advised)) in enumerate(rows, start=1):
            table.add_row(name, now, advised, end_section=index == len(rows))
    return Fitting(table=table)


def _groups(answer: EngineLimits, setting: Setting) -> Iterator[list[tuple[str, str]]]:
    settings, run = setting.settings, setting.run
    yield [
        *((name, exact(getattr(settings, name))) for name in settings._fields[:-1]),
        (settings._fields[-1], f"{settings.gpu_memory_utilization:.4g}"),
    ]
    yield [
        ("pool, tokens", exact(setting.pool.tokens)),
        ("requests of max_model_len", f"{setting.at_max_model_len:.2f}x"),
        (f"longest {answer.unit}s ({answer.longest:,} tokens) in the pool", exact(setting.in_pool)),
        (f"average {answer.unit}s ({setting.mean_tokens:,} tokens) in the pool", exact(setting.mean_in_pool)),
        (f"{answer.unit}s at once", exact(setting.at_once)),
        ("decided by", setting.binds),
    ]
    if run is not None and run.budget is not None:
        yield [
            ("profile run: images", f"{run.budget.images} of {run.budget.image_tokens:,} tokens"),
            *((f"profile run: {name}", readable(nbytes, "B")) for name, nbytes in run.parts.items()),
        ]
    elif run is not None:
        yield [(f"profile run: {name}", readable(run.parts[name], "B")) for name in ("decoder", "sampler")]
    images = setting.images
    yield [
        ("these pages: images of a step", f"{images.count} of {images.tokens:,} tokens"),
        ("these pages: vision", readable(images.bytes, "B")),
        ("these pages: decoder", readable(setting.decoder_bytes, "B")),
        ("beyond the engine's share", readable(setting.beyond_bytes, "B")),
        ("room for context and graphs", readable(setting.room_bytes, "B")),
    ]
    if setting.budget is not None:
        yield [
            ("encoder cache, tokens", exact(setting.budget.tokens)),
            ("encoder cache", readable(setting.cache_bytes, "B")),
            ("encoder cache, pages", exact(setting.budget.tokens // setting.budget.image_tokens)),
        ]


def verdict(answer: EngineLimits, model: CostModel) -> str:
    """Whether pages need more than the engine reserved, and what then."""
    now, free = answer.now, _bytes(answer.context_bytes)
    images = f"{now.images.count} image{'s' if now.images.count > 1 else ''} at once"
    held = f"encoding {images} ({_layout(model, now.images.layout)}) holds {_bytes(now.images.bytes)}"
    if now.decoder_bytes > now.images.bytes:
        held = f"a pass of {now.settings.max_num_batched_tokens:,} tokens holds {_bytes(now.decoder_bytes)}"
    told = f"{held}; {_reserved(answer, model)}"
    if now.beyond_bytes:
        told += f"; {_bytes(now.beyond_bytes)} come from the {_bytes(now.left_alone_bytes)} that it left alone"
    if now.room_bytes < 0:
        return f"to come: {told}, {_bytes(-now.room_bytes)} more than there is; {_ways(answer)}"
    if now.room_bytes < answer.context_bytes:
        return (
            f"may come: {told}; {_bytes(now.room_bytes)} stay for context and graphs, less than {free}; {_ways(answer)}"
        )
    return f"none to come: {told}; {_bytes(now.room_bytes)} stay for context and graphs"


def _bytes(nbytes: int) -> str:
    return readable(nbytes, "B")


def _layout(model: CostModel, layout: Any) -> str:
    return f"{model.workload.layout_title} {model.workload.layout_text(layout)}"


def _reserved(answer: EngineLimits, model: CostModel) -> str:
    """What the engine has for it, in words."""
    now = answer.now
    if now.run is None:
        return f"{answer.engine} profiles nothing and reserves nothing for that"
    if answer.reserve_given:
        return f"engine.reserve_bytes leaves {_bytes(now.reserved_for_passes)} for that"
    told = f"the profile run held {_bytes(now.run.peak_bytes)} in its {now.run.peak_part}"
    if now.run.layout is None:
        return f"{told}; which image it takes of this model nobody has read, so without its images"
    if now.run.peak_part == VISION:
        return f"{told}, of images of {_layout(model, now.run.layout)}"
    return f"{told}, {_bytes(now.run.vision_bytes)} in its images ({_layout(model, now.run.layout)})"


def _ways(answer: EngineLimits) -> str:
    smaller = f"engine.gpu_memory_utilization={answer.safe_share:g} leaves enough, or smaller pages"
    return smaller if answer.now.run is None else f"{smaller}, or fewer engine.max_num_batched_tokens"


def reasons(answer: EngineLimits) -> dict[str, str]:
    """Why each setting is advised."""
    advised = answer.advised
    rows = "a token" if answer.step_rows == 1 else f"{answer.step_rows} positions (drafts among them)"
    beside = f" beside {rows} of every other request" if answer.mixed else ""
    beyond = f" and {_bytes(advised.beyond_bytes)} beyond its share" if advised.beyond_bytes else ""
    waits = "all requests wait for longer steps"
    if answer.prefill is not None:
        low, high = (estimated(1000 * each) for each in (answer.prefill.low, answer.prefill.high))
        waits += f" (a {answer.unit}'s prefill: {estimated(1000 * answer.prefill.value)} ms, {low} to {high})"
    return {
        "max_model_len": f"the longest {answer.unit} has {answer.longest:,} positions; less refuses it, more lets "
        f"a {answer.unit} that never ends take as many",
        "max_num_seqs": f"the pool holds {advised.in_pool:,} such {answer.unit}s to their ends; with more some are "
        f"preempted, then computed again; with fewer it idles where {answer.unit}s are as long",
        "max_num_batched_tokens": f"a step holds the longest prompt ({answer.prompt:,}) whole{beside}; with less it is "
        f"cut, with more {waits}{', and more is reserved' if advised.run is not None else ''}",
        "gpu_memory_utilization": f"leaves {_bytes(advised.left_alone_bytes)}: {_bytes(answer.context_bytes)} for "
        f"context and graphs (assumed){beyond}; 0.01 more does not",
    }


def advice_lines(answer: EngineLimits, model: CostModel) -> Table:
    """Whether memory runs out, what to set and why, and the command that sets it."""
    settings = answer.advised.settings._asdict()
    return label_lines(
        ("out of memory", verdict(answer, model)),
        *((f"{name} {_setting(settings[name])}", why) for name, why in reasons(answer).items()),
        ("server", server_command(answer, model)),
        ("here", " ".join(f"engine.{name}={_setting(value)}" for name, value in settings.items())),
    )


def server_command(answer: EngineLimits, model: CostModel) -> str:
    """The engine's server with the advised settings."""
    start, flags, devices, kv_in_fp8 = SERVERS[answer.engine]
    settings = answer.advised.settings._asdict()
    source = str(model.config.checkpoint.source).split(",")[0].removeprefix("huggingface.co/")
    given = model.settings()
    beside = [f"{devices} {model.devices}"] if model.devices > 1 else []
    beside += ["--enable-expert-parallel"] if given.get("parallel.expert") else []  # of vLLM alone
    beside += [f"--mm-encoder-tp-mode {given['parallel.encoder']}"] if "parallel.encoder" in given else []
    beside += [kv_in_fp8] if "precision.kv" in given else []
    return " ".join([start, source, *beside, *(f"{flag} {_setting(settings[name])}" for name, flag in flags.items())])


def _setting(value: float) -> str:
    return f"{value:g}"


def notes(answer: EngineLimits) -> list[tuple[str, str]]:
    """Where the figures come from."""
    version = f" {answer.version}" if answer.version else ""
    lines = [
        ("counted", f"weights, cache and what passes hold, by the walks of execution={answer.engine}"),
        ("settings", f"{answer.engine}{version}'s, read in its code, unless they were given (docs/limits.md)"),
        (
            "assumed",
            f"{_bytes(answer.context_bytes)} for the process's context and CUDA graphs (runtime.reserve_bytes)",
        ),
    ]
    if answer.now.run is not None:
        lines.append(("fitted", "what is beside the profile run, on three published capacities of vLLM 0.12"))
    return lines


def limits_content(answer: EngineLimits, model: CostModel) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "device": answer.device.name,
        "memory_bytes": answer.device.memory_bytes,
        "engine": answer.engine,
        "engine_version": answer.version,
        "longest_tokens": answer.longest,
        "prompt_tokens_longest": answer.prompt,
        "image_tokens_most": answer.image_tokens,
        "now": _content(answer.now),
        "advised": _content(answer.advised),
        "context_and_graphs_bytes": answer.context_bytes,
        "prefill_s": None if answer.prefill is None else answer.prefill._asdict(),
        "safe_gpu_memory_utilization": answer.safe_share,
        "out_of_memory": verdict(answer, model),
        "reasons": reasons(answer),
        "server": server_command(answer, model),
    }


def _content(setting: Setting) -> dict[str, Any]:
    content: dict[str, Any] = {
        "settings": setting.settings._asdict(),
        "share_bytes": setting.share_bytes,
        "weight_bytes": setting.weight_bytes,
        "reserve_bytes": setting.reserve_bytes,
        "left_alone_bytes": setting.left_alone_bytes,
        "pool": {**asdict(setting.pool), "blocks": setting.blocks},
        "page_tokens": setting.page_tokens,
        "requests_of_max_model_len": setting.at_max_model_len,
        "pages_in_pool": setting.in_pool,
        "mean_tokens": setting.mean_tokens,
        "mean_pages_in_pool": setting.mean_in_pool,
        "pages_at_once": setting.at_once,
        "decided_by": "pool" if setting.binds == POOL else setting.binds,
        "images": {**asdict(setting.images), "layout": list(setting.images.layout)},
        "decoder_bytes": setting.decoder_bytes,
        "beyond_bytes": setting.beyond_bytes,
        "room_bytes": setting.room_bytes,
        "encoder_cache_bytes": setting.cache_bytes,
        "encoder_budget": None if setting.budget is None else asdict(setting.budget),
        "profile_run": None,
    }
    if setting.run is not None:
        run = asdict(setting.run)
        layout = setting.run.layout
        content["profile_run"] = {**run, "layout": None if layout is None else list(layout)}
        content["profile_run"] |= {"peak_bytes": setting.run.peak_bytes, "peak_part": setting.run.peak_part}
    return content
