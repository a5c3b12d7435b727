"""What serves a model: the groups `engine`, `host` and `client` of its configuration.

An engine is one choice, `engine=transformers|published|vllm|sglang|best`: the execution whose kernels it launches, what
its own processor does otherwise with a page, how much memory it takes and for what, how many sequences it runs at
once, and what its host does beside the device. Each choice is a file, `configs/engine/<name>.yaml`, which names its
sources; a key of it that the user gives wins. None of it changes a count but the execution and the processor's limits.

    engine=vllm                  the execution vllm, vLLM's memory and limits
    execution=vllm               the same: an execution alone takes the engine that runs it
    engine=vllm engine.max_num_seqs=64 host.ngram=false
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from modelmeter.documents import read_yaml
from modelmeter.errors import ModelMeterError, near
from modelmeter.kinds import Choice, Flag, Kind, Maybe, Real, Said, Text, Whole

#: the execution that each engine launches
EXECUTION_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "transformers": "transformers",
        "published": "published",
        "vllm": "vllm",
        "sglang": "sglang",
        "best": "serving",
    }
)
#: the engine that an execution alone stands for
ENGINE_OF: Final[Mapping[str, str]] = MappingProxyType({execution: name for name, execution in EXECUTION_OF.items()})
#: no engine that exists: the bound that an execution at its best sets
BEST: Final = "best"
#: what people serve with, unless they say otherwise
SERVED_BY: Final = "vllm"

#: the package of the files
CONFIGS: Final = "modelmeter.models.common.configs"

#: a client that sends the next page while others are served, or one that sends a batch and waits for all of it
OVERLAPPED: Final = "overlapped"
SERIAL_BATCHES: Final = "serial_batches"
CLIENTS: Final = (OVERLAPPED, SERIAL_BATCHES)


@dataclass
class EngineSchema:
    """The group `engine`, of which `ENGINE_KINDS` says what each is.

    What is None is the engine's own rule for the device (`devices.engine`), or no limit.
    """

    name: str = "transformers"
    version: str | None = None
    gpu_memory_utilization: float | None = None
    reserve_bytes: int | None = None
    other_bytes: int | None = None
    sampler: str | None = None
    block_size: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None


@dataclass
class HostSchema:
    """The group `host`: what the machine around the device does for a page, in seconds of one worker."""

    workers: int = 1
    seconds_per_page: float = 0.125
    seconds_per_text: float = 0.012
    seconds_per_prefill: float = 0.0
    seconds_per_step: float = 0.0
    ngram: bool = False
    ngram_size: int = 30
    ngram_window: int = 90
    seconds_per_comparison: float = 7e-7
    spread: float = 0.5


@dataclass
class ClientSchema:
    """The group `client`: who sends the pages.

    "overlapped" keeps requests in flight; "serial_batches" encodes batch_size pages one after another, sends them, and
    waits for the slowest before it begins anew.
    """

    name: str = OVERLAPPED
    batch_size: int = 1
    seconds_per_page: float = 0.0


#: how a profile run draws tokens of logits: `models.common.profile_run` says what that holds
SORT: Final = "sort"
KERNEL: Final = "kernel"
SAMPLERS: Final = (SORT, KERNEL)

_SECONDS: Final = Real(Fraction(0), Fraction(3600))
_SHARE: Final = Real(Fraction(1, 100), Fraction(1), "it is a share of the device's memory")

#: what a value of these groups may be, and what it is, by its key
ENGINE_KINDS: Final[Mapping[str, Kind[Any]]] = MappingProxyType(
    {
        "engine.name": Said(Choice(tuple(EXECUTION_OF)), "who serves the pages; chosen by engine=NAME"),
        "engine.version": Said(Maybe(Text(40)), "whose defaults these are"),
        "engine.gpu_memory_utilization": Said(
            Maybe(_SHARE), "share of the device's memory for weights, cache and working memory; null: the engine's rule"
        ),
        "engine.reserve_bytes": Said(
            Maybe(Whole(0, 2**50)), "of that share, what is neither weights nor cache, bytes; null: the engine's rule"
        ),
        "engine.other_bytes": Said(
            Maybe(Whole(0, 2**50)), "of that, what is beside the profile run's peak, bytes; null: there is no such run"
        ),
        "engine.sampler": Said(
            Maybe(Choice(SAMPLERS)),
            "how the profile run samples: sort (vLLM up to 0.16) or kernel (from 0.17 on); null: there is no such run",
        ),
        "engine.block_size": Said(Maybe(Whole(1, 2**12)), "tokens of a block of the KV cache; null: no blocks"),
        "engine.max_num_seqs": Said(
            Maybe(Whole(1, 2**16)), "sequences at once; null: the engine's rule for the device, or no limit"
        ),
        "engine.max_num_batched_tokens": Said(
            Maybe(Whole(1, 2**24)), "tokens of a pass; null: the engine's rule for the device, or no limit"
        ),
        "engine.max_model_len": Said(Maybe(Whole(1, 2**30)), "positions of a sequence; null: the model's"),
        "host.workers": Said(Whole(1, 2**12), "workers that prepare pages at once"),
        "host.seconds_per_page": Said(
            _SECONDS, "seconds to prepare a page (decode, resize, tokenise, receive), of one worker"
        ),
        "host.seconds_per_text": Said(_SECONDS, "seconds to prepare a prompt without an image, of one worker"),
        "host.seconds_per_prefill": Said(_SECONDS, "seconds that a prefill waits for the host beside launches"),
        "host.seconds_per_step": Said(_SECONDS, "seconds that a decode step waits for the host beside launches"),
        "host.ngram": Said(Flag(), "whether a logits processor in Python bans repeated n-grams"),
        "host.ngram_size": Said(Whole(1, 2**12), "tokens of such an n-gram"),
        "host.ngram_window": Said(Whole(1, 2**20), "tokens that it looks back"),
        "host.seconds_per_comparison": Said(_SECONDS, "seconds that it takes for one comparison"),
        "host.spread": Said(
            Real(Fraction(0), Fraction(9, 10), "it is a share"), "how far these seconds may be off, as a share"
        ),
        "client.name": Said(
            Choice(CLIENTS), "whether pages overlap, or a batch is sent and waited for; chosen by client=NAME"
        ),
        "client.batch_size": Said(Whole(1, 2**16), "pages of a serial batch"),
        "client.seconds_per_page": Said(_SECONDS, "seconds to encode a page, of a client of serial batches"),
    }
)

#: where a value comes from: read in an engine's code, fitted to published figures, carried from another engine's,
#: assumed here for want of better, or stated by the user
READ: Final = "read"
FITTED: Final = "fitted"
CARRIED: Final = "carried"
ASSUMED: Final = "assumed"
GIVEN: Final = "given"

#: where the seconds of an engine's host come from, unless the user gave them
HOST_ORIGIN: Final[Mapping[str, str]] = MappingProxyType(
    {"transformers": ASSUMED, "published": ASSUMED, "vllm": CARRIED, "sglang": FITTED, "best": ASSUMED}
)


@cache
def defaults_of(engine: str) -> Mapping[str, Mapping[str, Any]]:
    """What an engine's file says, by group."""
    path = Path(str(resources.files(CONFIGS) / "engine" / f"{engine}.yaml"))
    return cast("Mapping[str, Mapping[str, Any]]", read_yaml(f"engine {engine}", path, 2**14))


def origin_of(group: str, key: str, value: object, engine: str) -> str:
    """Where a value of the groups `engine` and `host` comes from: the user, or what the engine's file has."""
    if defaults_of(engine)[group].get(key) != value:
        return GIVEN
    return HOST_ORIGIN[engine] if group == "host" else READ


class Chosen(NamedTuple):
    """What overrides choose: an engine, and the execution that it launches."""

    engine: str
    execution: str


def choose(overrides: Sequence[str], executions: Collection[str]) -> Chosen:
    """The engine that overrides choose for a model that has these executions, by its name or by its execution's.

    Raises `ModelMeterError` where the two are unlike, or the model lacks the engine's execution.
    """
    given = dict(_given(overrides))
    engine, execution = given.get("engine"), given.get("execution")
    if engine is None:
        execution = execution or EXECUTION_OF["transformers"]
        return Chosen(ENGINE_OF.get(execution, "transformers"), execution)
    if engine not in EXECUTION_OF:
        raise ModelMeterError(f"engine={engine}: there is no such engine; {near(engine, EXECUTION_OF)}")
    needed = EXECUTION_OF[engine]
    if execution is not None and execution != needed:
        raise ModelMeterError(
            f"engine={engine} launches execution={needed}, and execution={execution} is given beside it; leave one of "
            f"them out{_alternative(execution)}."
        )
    if needed not in executions:
        there = ", ".join(f"engine={name}" for name, code in EXECUTION_OF.items() if code in executions)
        raise ModelMeterError(
            f"engine={engine}: nobody has written down what it launches for this model (execution={needed}); there are "
            f"{there}."
        )
    return Chosen(engine, needed)


def _alternative(execution: str) -> str:
    return f" (the engine of execution={execution} is {ENGINE_OF[execution]})" if execution in ENGINE_OF else ""


def _given(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """The choices of an engine and of an execution among overrides, as written; the last of each counts."""
    named = {key: group for group in ("engine", "execution") for key in (group, f"{group}.name")}
    pairs = (override.partition("=") for override in overrides)
    return [(named[key.strip()], value.strip()) for key, _, value in pairs if key.strip() in named]


def is_chosen(overrides: Sequence[str]) -> bool:
    """Whether overrides say which engine or execution it is."""
    return bool(_given(overrides))


def served(overrides: Sequence[str], executions: Collection[str]) -> list[str]:
    """The overrides with the engine that people serve with, where they choose none.

    If the model lacks that one's execution it is the bound, and without that too the real modules as they are.
    """
    if is_chosen(overrides):
        return list(overrides)
    engine = next((name for name in (SERVED_BY, BEST) if EXECUTION_OF[name] in executions), "transformers")
    return [f"engine={engine}", *overrides]
