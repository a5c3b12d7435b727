"""The configuration's schema, and the errors that a wrong one gets.

`compose` reads configs/deepseek_ocr.yaml through Hydra with the overrides; `resolve` holds what came against the
schema, so that a misspelt key or a wrong type fails by its file and key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from modelmeter.errors import ModelMeterError, near
from modelmeter.models.deepseek_ocr.vision_workload import MODES

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


def check_overrides(overrides: Sequence[str], extra: Mapping[str, object] | None = None) -> None:
    """Raise `ModelMeterError` for an override whose key or choice does not exist, naming the near ones.

    extra: further top-level keys and their values, of a program that has a configuration of its own around this one.
    """
    tree: dict[str, object] = asdict(ModelSchema()) | dict(extra or {})
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ModelMeterError(f'override "{override}" has no value; write key=value, as in workload=gundam.')
        key = key.strip()
        if key.startswith(("hydra.", "hydra/", "~")):
            continue
        if key.startswith("+"):
            raise ModelMeterError(
                f'override "{override}" adds a key; the configuration is closed, nothing can be added.'
            )
        _check_key(key, tree)
        if key in CONFIG_GROUPS and value not in group_options(key) and "," not in value:
            raise ModelMeterError(f"{key}={value}: there is no such {key}; {near(value, group_options(key))}")


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
    return resolve(compose_config(CONFIG_NAME, overrides))


def compose_config(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """What Hydra composes from configs/`config_name`.yaml and `overrides`, not yet held against the schema."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    register_workloads()
    outer = GlobalHydra.instance().hydra  # a Hydra program around us keeps its own
    try:
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            return hydra_compose(config_name, list(overrides))
    except HydraException as error:
        raise ModelMeterError(f"config: {error}") from error
    finally:
        GlobalHydra.instance().hydra = outer


def resolve(config: DictConfig) -> ModelSchema:
    """What Hydra composed, held against the schema."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    names = asdict(ModelSchema())
    try:
        chosen = OmegaConf.create({name: config[name] for name in names})
        merged = OmegaConf.merge(OmegaConf.structured(ModelSchema), chosen)
        result: Any = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", "") or "")
        group = re.split(r"[.\[]", key)[0]
        first_line = str(error).splitlines()[0]
        raise ModelMeterError(f"config {group or CONFIG_NAME}, key {key or '?'}: {first_line}") from error
    assert isinstance(result, ModelSchema)
    return result
