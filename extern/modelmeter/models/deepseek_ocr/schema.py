"""The configuration's schema, what its values may be, and the errors that a wrong one gets.

`compose` reads configs/deepseek_ocr.yaml through Hydra with the overrides; `read_configuration` holds what came, from
there or from a saved result, against the schema and `KINDS`, so that a misspelt key or a wrong value fails by its key.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, cast

from modelmeter.errors import ModelMeterError, near, printable
from modelmeter.kinds import Choice, Either, Flag, Kind, ListOf, Maybe, Record, Text, Whole
from modelmeter.models.common.loading import LOADS
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import HEADS
from modelmeter.models.deepseek_ocr.vision_workload import MAX_CROPS, MODES

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONFIG_MODULE: Final = "modelmeter.models.deepseek_ocr.configs"
CONFIG_NAME: Final = "deepseek_ocr"


@dataclass
class SamSchema:
    """Arguments of `ImageEncoderViT`."""

    patch_size: int = 16
    in_chans: int = 3
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    out_chans: int = 256
    qkv_bias: bool = True
    window_size: int = 14
    global_attn_indexes: list[int] = field(default_factory=lambda: [2, 5, 8, 11])
    downsample_channels: list[int] = field(default_factory=lambda: [512, 1024])
    pretrain_img_size: int = 1024


@dataclass
class ClipSchema:
    """Arguments of `VitModel`."""

    hidden_size: int = 1024
    num_layers: int = 24
    num_attention_heads: int = 16
    ffn_hidden_size: int = 4096
    num_positions: int = 257


@dataclass
class ProjectorSchema:
    """Arguments of `MlpProjector`."""

    projector_type: str = "linear"
    input_dim: int = 2048
    n_embed: int = 1280
    depth: int = 1
    mlp_ratio: int = 1
    downsample_ratio: int = 2


@dataclass
class VisionSchema:
    """The group `vision`."""

    sam: SamSchema = field(default_factory=SamSchema)
    clip: ClipSchema = field(default_factory=ClipSchema)
    projector: ProjectorSchema = field(default_factory=ProjectorSchema)


@dataclass
class DecoderSchema:
    """The group `decoder`: the published config's names."""

    vocab_size: int = 129280
    hidden_size: int = 1280
    intermediate_size: int = 6848
    moe_intermediate_size: int = 896
    num_hidden_layers: int = 12
    num_attention_heads: int = 10
    num_key_value_heads: int = 10
    n_routed_experts: int = 64
    num_experts_per_tok: int = 6
    n_shared_experts: int = 2
    first_k_dense_replace: int = 1
    max_position_embeddings: int = 8192


@dataclass
class WorkloadSchema:
    """The group `workload`: arguments of `VisionWorkload`."""

    base_size: int = 1024
    image_size: int = 640
    crop_mode: bool = True
    patch_size: int = 16
    downsample_ratio: int = 4
    min_num: int = 2
    max_num: int = 9


@dataclass
class RuntimeSchema:
    """The group `runtime`."""

    attention: str = "flash"
    dtype: str = "bfloat16"
    batch_size: int = 1
    prompt_tokens: int = 10
    prompt: str | None = None
    tokenizer_path: str | None = None
    head: str | None = None
    experts_hit: Any = "max"
    load: str = "direct"
    reserve_bytes: int | None = None


@dataclass
class ExecutionSchema:
    """The group `execution`."""

    name: str = "transformers"


@dataclass
class ModelSchema:
    """The whole configuration of a cost model."""

    vision: VisionSchema = field(default_factory=VisionSchema)
    decoder: DecoderSchema = field(default_factory=DecoderSchema)
    workload: WorkloadSchema = field(default_factory=WorkloadSchema)
    runtime: RuntimeSchema = field(default_factory=RuntimeSchema)
    execution: ExecutionSchema = field(default_factory=ExecutionSchema)


#: the configuration's groups: what an override's key begins with
CONFIG_GROUPS: Final = tuple(group.name for group in fields(ModelSchema))

# Bounds: far beyond any model or machine of the day, and near enough that every configuration within them is walked in
# seconds. What has a relation to another size is checked by the layers that are made of both.
_SIZE: Final = Whole(1, 2**20)  # widths, vocabulary, sides in pixels
_COUNT: Final = Whole(1, 2**12)  # heads, ratios
_EXPERTS: Final = Whole(1, 1024)
_LAYERS: Final = Whole(1, 1000)
_POSITIONS: Final = Whole(1, 2**30)
_BATCH: Final = Whole(1, 1024)
_BYTES: Final = Whole(0, 2**50)
_WORD: Final = Text(64)
_OF_USER: Final = Maybe(Text(2**20, printable=False))  # never printed as it is

#: what a value of the configuration may be, by its key
KINDS: Final[Mapping[str, Kind[Any]]] = {
    "vision.sam.patch_size": _SIZE,
    "vision.sam.in_chans": _SIZE,
    "vision.sam.embed_dim": _SIZE,
    "vision.sam.depth": _LAYERS,
    "vision.sam.num_heads": _COUNT,
    "vision.sam.mlp_dim": _SIZE,
    "vision.sam.out_chans": _SIZE,
    "vision.sam.qkv_bias": Flag(),
    "vision.sam.window_size": _SIZE,
    "vision.sam.global_attn_indexes": ListOf(Whole(0, _LAYERS.most - 1), 0, _LAYERS.most),
    "vision.sam.downsample_channels": ListOf(_SIZE, 2, 2),
    "vision.sam.pretrain_img_size": _SIZE,
    "vision.clip.hidden_size": _SIZE,
    "vision.clip.num_layers": _LAYERS,
    "vision.clip.num_attention_heads": _COUNT,
    "vision.clip.ffn_hidden_size": _SIZE,
    "vision.clip.num_positions": Whole(2, _POSITIONS.most),
    "vision.projector.projector_type": _WORD,
    "vision.projector.input_dim": _SIZE,
    "vision.projector.n_embed": _SIZE,
    "vision.projector.depth": _LAYERS,
    "vision.projector.mlp_ratio": _COUNT,
    "vision.projector.downsample_ratio": _COUNT,
    "decoder.vocab_size": Whole(1, 2**30),
    "decoder.hidden_size": _SIZE,
    "decoder.intermediate_size": _SIZE,
    "decoder.moe_intermediate_size": _SIZE,
    "decoder.num_hidden_layers": _LAYERS,
    "decoder.num_attention_heads": _COUNT,
    "decoder.num_key_value_heads": _COUNT,
    "decoder.n_routed_experts": _EXPERTS,
    "decoder.num_experts_per_tok": _EXPERTS,
    "decoder.n_shared_experts": _COUNT,
    "decoder.first_k_dense_replace": Whole(0, _LAYERS.most),
    "decoder.max_position_embeddings": _POSITIONS,
    "workload.base_size": _SIZE,
    "workload.image_size": _SIZE,
    "workload.crop_mode": Flag(),
    "workload.patch_size": _SIZE,
    "workload.downsample_ratio": _SIZE,
    "workload.min_num": Whole(1, MAX_CROPS),
    "workload.max_num": Whole(1, MAX_CROPS),
    "runtime.attention": _WORD,
    "runtime.dtype": _WORD,
    "runtime.batch_size": _BATCH,
    "runtime.prompt_tokens": Whole(0, _POSITIONS.most),
    "runtime.prompt": _OF_USER,
    "runtime.tokenizer_path": _OF_USER,
    "runtime.head": Maybe(Choice(HEADS)),
    "runtime.experts_hit": Either(("max", "uniform"), _EXPERTS),
    "runtime.load": Choice(LOADS),
    "runtime.reserve_bytes": Maybe(_BYTES),
    "execution.name": _WORD,
}

#: characters, and entries of lists, that the overrides of one configuration may have together: Hydra reads some 400
#: entries a second
MAX_OVERRIDE_CHARACTERS: Final = 20_000
MAX_OVERRIDE_ENTRIES: Final = 1000

#: lists within each other in an override: no key takes any but a list of numbers
MAX_OVERRIDE_DEPTH: Final = 8

#: Hydra's parser and its registries are the process's
_HYDRA: Final = threading.RLock()


def _record(schema: Callable[[], Any], path: str = "") -> Record:
    """What a mapping may hold that is read into a dataclass of the schema, or into one of its groups."""
    kinds: dict[str, Kind[Any]] = {}
    for each in fields(cast("Any", schema)):
        name = f"{path}{each.name}"
        group = is_dataclass(each.default_factory)
        kinds[each.name] = _record(cast("Any", each.default_factory), f"{name}.") if group else KINDS[name]
    return Record(kinds, "the configuration", defaults=asdict(schema()), missing="null is no value of it")


_CONFIGURATION: Final = _record(ModelSchema)


def read_configuration(content: object, who: str = "config: ") -> ModelSchema:
    """The configuration that a mapping states; keys that it leaves out have the published values.

    Raises `ModelMeterError`, in words that begin with `who`, for a key that does not exist and a value that is not
    allowed. Nothing of it is interpolated or looked up.
    """
    values = _CONFIGURATION.read(who, content)
    vision = values["vision"]
    return ModelSchema(
        vision=VisionSchema(
            sam=SamSchema(**vision["sam"]),
            clip=ClipSchema(**vision["clip"]),
            projector=ProjectorSchema(**vision["projector"]),
        ),
        decoder=DecoderSchema(**values["decoder"]),
        workload=WorkloadSchema(**values["workload"]),
        runtime=RuntimeSchema(**values["runtime"]),
        execution=ExecutionSchema(**values["execution"]),
    )


def register_workloads() -> None:
    """Put the named modes into Hydra's store as the group `workload`."""
    from hydra.core.config_store import ConfigStore

    for name, workload in MODES.items():
        ConfigStore.instance().store(group="workload", name=name, node=asdict(workload))


def group_options(group: str) -> list[str]:
    """The choices of a group: workload's modes, or the files of its folder."""
    if group == "workload":
        return list(MODES)
    folder = resources.files(CONFIG_MODULE) / group
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def check_overrides(
    overrides: Sequence[str], extra: Mapping[str, object] | None = None, *, program: bool = False
) -> None:
    """Raise `ModelMeterError` for an override that is none, or whose key or choice does not exist, naming near ones.

    extra: further top-level keys and their values, of a program that has a configuration of its own around this one.
    program: these are the command line of a Hydra program, which may sweep and say how Hydra itself runs; everywhere
    else an override is one value of one key, so that none reaches Hydra's plugins, search path or launchers.
    """
    _check_amount(overrides)
    tree: dict[str, object] = asdict(ModelSchema()) | dict(extra or {})
    for override in overrides:
        key, equals, value = (part.strip() for part in override.partition("="))
        named = f'override "{printable(override, 100)}"'
        if re.match(r"[+~]*hydra\b", key.lstrip("'\"")):
            if program:
                continue
            raise ModelMeterError(
                f"{named} is for Hydra itself; a cost model has the keys of {', '.join(CONFIG_GROUPS)} alone."
            )
        if key.startswith(("+", "~")):
            verb = "adds" if key.startswith("+") else "removes"
            raise ModelMeterError(
                f"{named} {verb} a key; the configuration is closed, nothing can be added or removed."
            )
        if not equals:
            raise ModelMeterError(f"{named} has no value; write key=value, as in workload=gundam.")
        if "@" in key or "/" in key:
            raise ModelMeterError(f"{named} names a package; write key=value, as in workload=gundam.")
        if "${" in override:
            raise ModelMeterError(f"{named} is an interpolation; write the value itself.")
        _check_key(key, tree)
        if key in CONFIG_GROUPS and value not in group_options(key) and not (program and "," in value):
            raise ModelMeterError(f"{key}={value}: there is no such {key}; {near(value, group_options(key))}")
        if not program:
            _check_single(named, override)


def _check_amount(overrides: Sequence[str]) -> None:
    """Refuse more than Hydra's parser reads in seconds."""
    text = "\n".join(overrides)
    if len(text) > MAX_OVERRIDE_CHARACTERS:
        raise ModelMeterError(
            f'override "{printable(max(overrides, key=len), 100)}": the overrides have {len(text):,} characters '
            f"together; at most {MAX_OVERRIDE_CHARACTERS:,} are read."
        )
    unquoted = re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", "", text)
    if unquoted.count(",") > MAX_OVERRIDE_ENTRIES:
        raise ModelMeterError(
            f"overrides: their lists have {unquoted.count(','):,} entries together; "
            f"at most {MAX_OVERRIDE_ENTRIES:,} are read."
        )
    depth = 0
    for sign in unquoted:
        depth += (sign in "[{(") - (sign in "]})")
        if depth > MAX_OVERRIDE_DEPTH:
            raise ModelMeterError(f"overrides: more than {MAX_OVERRIDE_DEPTH} lists stand within each other.")


def _check_single(named: str, override: str) -> None:
    """Refuse what stands for several values: sweeps, and the functions that make them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        with _HYDRA:
            parsed = OverridesParser.create().parse_override(override.strip())
    except (HydraException, RecursionError, ValueError) as error:
        raise ModelMeterError(
            f"{named} is none that Hydra can read ({' '.join(str(error).split())}); write key=value."
        ) from error
    if parsed.is_sweep_override():
        raise ModelMeterError(f"{named} stands for several values; give one, or a list in brackets.")


def _check_key(key: str, tree: Mapping[str, object]) -> None:
    node: object = tree
    walked: list[str] = []
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            options = [".".join((*walked, option)) for option in node] if isinstance(node, Mapping) else []
            raise ModelMeterError(
                f"config key {key} does not exist (no figure is scaled, every key is a knob of the model); "
                f"{near('.'.join((*walked, name)), options)}"
            )
        node = node[name]
        walked.append(name)


def compose(overrides: Sequence[str]) -> ModelSchema:
    """The configuration that Hydra composes from the defaults and `overrides`."""
    check_overrides(overrides)
    return resolve(compose_config(CONFIG_NAME, [override.strip() for override in overrides]))


def compose_config(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """What Hydra composes from configs/`config_name`.yaml and `overrides`, not yet held against the schema.

    Hydra's own `compose` goes through a singleton, which one thread at a time can have, and no program that Hydra runs;
    its loader is asked instead, which has nothing to do with either.
    """
    from hydra import version
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra.core.plugins import Plugins
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import open_dict

    search_path = ConfigSearchPathImpl()
    for provider, path in (
        ("hydra", "pkg://hydra.conf"),
        ("main", f"pkg://{CONFIG_MODULE}"),
        ("schema", "structured://"),
    ):
        search_path.append(provider, path)
    with _HYDRA:
        Plugins.instance()  # registers where configurations come from
        register_workloads()
        base = version.VersionBase.instance()
        outer = base.version_base
        version.setbase("1.3")
        try:
            config = ConfigLoaderImpl(search_path).load_configuration(
                config_name, [*overrides, "hydra.job.name=modelmeter"], RunMode.RUN, from_shell=False
            )
        except HydraException as error:
            raise ModelMeterError(f"config: {' '.join(str(error).split())}") from error
        finally:
            base.version_base = outer
    with open_dict(config):
        del config["hydra"]
    return config


def resolve(config: DictConfig) -> ModelSchema:
    """What Hydra composed, held against the schema."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        content = {group: OmegaConf.to_container(config[group], resolve=True) for group in CONFIG_GROUPS}
    except OmegaConfBaseException as error:
        raise ModelMeterError(f"config: {' '.join(str(error).split())}") from error
    return read_configuration(content)
