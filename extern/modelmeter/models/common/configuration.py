"""A model's configuration: its groups, what their values may be, and the errors that a wrong one gets.

A model states its schema, `CommonSchema` with the groups of its own; what each value of these may be, by its key; and
where its YAML files are. `compose` reads these through Hydra with the overrides; `read` holds what came, from there or
from a saved result, against the schema.

A checkpoint is a choice of the group `checkpoint`: a file that says whose weights these are, and where its sizes differ
from the model's; or a folder of the user's own with a `config.json` (`checkpoint_files`).
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache, cached_property, lru_cache
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from modelmeter.checks import check_overrides
from modelmeter.documents import read_yaml
from modelmeter.errors import ModelMeterError, did_you_mean, near, printable
from modelmeter.kinds import Choice, Either, Kind, Maybe, Record, Said, Text, Whole, words
from modelmeter.layers.code import ATTENTIONS
from modelmeter.models.common.checkpoint_files import CheckpointFiles, is_folder
from modelmeter.models.common.engines import (
    CONFIGS,
    ENGINE_KINDS,
    ENGINE_OF,
    ClientSchema,
    EngineSchema,
    HostSchema,
    choose,
    defaults_of,
)
from modelmeter.models.common.loading import LOADS
from modelmeter.models.common.parallel import PARALLEL_KINDS, ParallelSchema
from modelmeter.models.common.precision import (
    PRECISION,
    PRECISION_KINDS,
    PRECISIONS,
    PrecisionSchema,
    no_such_precision,
)
from modelmeter.models.common.request import REQUEST_KINDS
from modelmeter.models.common.speculation import NONE, SPECULATION_KINDS
from modelmeter.models.common.stage_cost import HEADS
from modelmeter.units import MODEL_DTYPES

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


#: positions of the prompt of a model that assumes no other
PROMPT_TOKENS: Final = 10


@dataclass
class RuntimeSchema:
    """The group `runtime`."""

    attention: str = "flash"
    dtype: str = "bfloat16"
    batch_size: int = 1
    prompt_tokens: int | None = PROMPT_TOKENS
    system_prompt_tokens: int = 0
    pages_per_request: int = 1
    prefix_cached: float = 0.0
    prompt: str | None = None
    tokenizer_path: str | None = None
    head: str | None = None
    experts_hit: Any = None
    load: str = "direct"
    reserve_bytes: int | None = None
    draft: str = NONE
    draft_tokens: int | None = None
    accepted_tokens: float | None = None


@dataclass
class ExecutionSchema:
    """The group `execution`."""

    name: str = "transformers"


@dataclass
class CheckpointSchema:
    """The group `checkpoint`: whose weights the sizes are. No figure follows from it.

    name: None where no checkpoint was chosen. unconfirmed: and what was taken instead; it stands with every result.
    """

    name: str | None = None
    source: str | None = None
    revision: str | None = None
    unconfirmed: str | None = None


@dataclass
class CommonSchema:
    """The whole configuration of a cost model, as a model's own schema completes it.

    The groups that each model has are in their order here, those of its own without a value: its schema states them
    again as dataclasses with the published values, and any further group behind these.
    """

    vision: Any
    decoder: Any
    workload: Any
    runtime: RuntimeSchema = field(default_factory=RuntimeSchema)
    execution: ExecutionSchema = field(default_factory=ExecutionSchema)
    engine: EngineSchema = field(default_factory=EngineSchema)
    host: HostSchema = field(default_factory=HostSchema)
    client: ClientSchema = field(default_factory=ClientSchema)
    precision: PrecisionSchema = field(default_factory=PrecisionSchema)
    parallel: ParallelSchema = field(default_factory=ParallelSchema)
    checkpoint: CheckpointSchema = field(default_factory=CheckpointSchema)


Schema = TypeVar("Schema", bound=CommonSchema)

# Bounds: far beyond any model or machine of the day, and near enough that every configuration within them is walked in
# seconds. What has a relation to another size is checked by the layers that are made of both.
SIZE: Final = Whole(1, 2**20)  # widths, vocabulary, sides in pixels
COUNT: Final = Whole(1, 2**12)  # heads, ratios
EXPERTS: Final = Whole(1, 1024)
LAYERS: Final = Whole(1, 1000)
POSITIONS: Final = Whole(1, 2**30)
BATCH: Final = Whole(1, 1024)
BYTES: Final = Whole(0, 2**50)
WORD: Final = Text(64)
_OF_USER: Final = Maybe(Text(2**20, printable=False))  # never printed as it is

#: what a value of the groups that all models have may be, and what it is, by its key
COMMON_KINDS: Final[Mapping[str, Kind[Any]]] = {
    "runtime.attention": Said(Choice(ATTENTIONS), "one fused kernel, or operator by operator"),
    "runtime.dtype": Said(Choice(MODEL_DTYPES), "type of weights, activations and KV cache, but for precision"),
    "runtime.batch_size": Said(BATCH, "pages of equal size in one pass; pages that decode together are --batch"),
    "runtime.prompt_tokens": Said(
        Maybe(Whole(0, POSITIONS.most)),
        "positions that are no image tokens; null: the prompt assumed for the model, and a page's markers of tiles",
    ),
    **REQUEST_KINDS,
    "runtime.prompt": Said(_OF_USER, "the prompt itself, counted by the tokenizer in place of prompt_tokens"),
    "runtime.tokenizer_path": Said(_OF_USER, "folder with the tokenizer.json that counts runtime.prompt"),
    "runtime.head": Said(Maybe(Choice(HEADS)), "positions that the head computes; null: as the execution does"),
    "runtime.experts_hit": Said(
        Maybe(Either(("max", "uniform"), EXPERTS)),
        "experts whose weights a step reads: max, uniform (routing), or a number; null: max, in times uniform",
    ),
    "runtime.load": Said(Choice(LOADS), "how weights arrive: in their type, or in float32 and converted on the device"),
    "runtime.reserve_bytes": Said(Maybe(BYTES), "device memory left free, bytes; null: 1 GiB on a GPU, none on a CPU"),
    **SPECULATION_KINDS,
    "execution.name": Said(WORD, "the code whose operators are counted; chosen by execution=NAME"),
    "checkpoint.name": Said(
        Maybe(Text(200, least=1)), "whose weights they are; chosen by checkpoint=NAME or checkpoint=FOLDER"
    ),
    "checkpoint.source": Said(Maybe(Text(1000)), "where that is published"),
    "checkpoint.revision": Said(Maybe(Text(200)), "what of it was read"),
    "checkpoint.unconfirmed": Said(Maybe(Text(1000)), "which of its values nobody published or confirmed"),
    **ENGINE_KINDS,
    **PRECISION_KINDS,
    **PARALLEL_KINDS,
}

#: the only choice of a group whose keys are set one by one
DEFAULT: Final = "default"

#: the group that says whose weights the sizes are, and whose keys nobody sets
CHECKPOINT: Final = "checkpoint"

#: how a checkpoint's file says in which mode it is used
_OWN_MODE: Final = "override /workload"

#: what a folder's checkpoint is called as a choice of the group, where Hydra is to find it
OWN: Final = "own"

#: characters, and entries of lists, that the overrides of one configuration may have together: Hydra reads some 400
#: entries a second
MAX_OVERRIDE_CHARACTERS: Final = 20_000
MAX_OVERRIDE_ENTRIES: Final = 1000

#: what keys and groups are called elsewhere
ALSO_CALLED: Final[Mapping[str, str]] = {
    "mode": "workload",
    "resolution": "workload",
    "backend": "engine",
    "framework": "engine",
    "quantization": "precision",
    "quantisation": "precision",
    "quant": "precision",
    "kv_cache_dtype": "precision.kv",
    "tp": "parallel.tensor",
    "tp_size": "parallel.tensor",
    "tensor_parallel_size": "parallel.tensor",
    "enable_expert_parallel": "parallel.expert",
    "mm_encoder_tp_mode": "parallel.encoder",
    "torch_dtype": "runtime.dtype",
    "attn": "runtime.attention",
    "attn_implementation": "runtime.attention",
    "batch": "runtime.batch_size",
    "tokenizer": "runtime.tokenizer_path",
    "num_layers": "decoder.num_hidden_layers",
}

#: values that Hydra's grammar reads as what they look like: a whole number, or a word
_PLAIN: Final = re.compile(r"0|[1-9][0-9]{0,15}|(?!(?:nan|inf)$)[A-Za-z_][A-Za-z0-9_]*", re.IGNORECASE)
_CONSTANTS: Final = {"true": True, "false": False, "null": None}

#: keys that an error names at most
_NAMED: Final = 3

#: lists within each other in an override: no key takes any but a list of numbers
MAX_OVERRIDE_DEPTH: Final = 8

#: the package of the files that all models find behind their own
COMMON_CONFIGS: Final = CONFIGS

#: Hydra's parser and its registries are the process's
_HYDRA: Final = threading.RLock()


def _flat(record: Record, path: str = "") -> Iterator[tuple[str, Kind[Any]]]:
    """(key, kind) of every value of a record, those of records within it too."""
    for name, kind in record.kinds.items():
        if isinstance(kind, Record):
            yield from _flat(kind, f"{path}{name}.")
        else:
            yield f"{path}{name}", kind


def build(schema: Callable[[], Any], values: Mapping[str, Any]) -> Any:
    """A dataclass of the schema, its groups within it, of values that were read."""
    built = {}
    for each in fields(cast("Any", schema)):
        group = cast("Any", each.default_factory)
        built[each.name] = build(cast("Any", group), values[each.name]) if is_dataclass(group) else values[each.name]
    return cast("Any", schema)(**built)


@dataclass(frozen=True, kw_only=True)
class Configuration(Generic[Schema]):
    """What one model's configuration is.

    schema: its dataclass. kinds: what a value of its own groups may be, by key. module: the package of its YAML files.
    name: of the file that names the defaults. modes: the named workloads, of which each is a choice of `workload`.
    executions: the code that it can be walked as, of which each is a choice of `execution`. engine_keys: by engine,
    what it sets otherwise for this model (its processor's limits, what its recipe asks for), key and value. profiled:
    by engine, what it takes in its profile run for the largest image of this model: the layout, of a workload.
    checkpoints: the choices of `checkpoint`, the default first; a file of that group states each. files: how the files
    of a user's own checkpoint are read. expands: by key, what makes of a value the overrides that it stands for, or
    None of one that stands for itself.
    """

    schema: type[Schema]
    kinds: Mapping[str, Kind[Any]]
    module: str
    name: str
    modes: Mapping[str, Any]
    executions: Mapping[str, Any]
    checkpoints: Sequence[str]
    files: CheckpointFiles
    engine_keys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    profiled: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    expands: Mapping[str, Callable[[str], list[str] | None]] = field(default_factory=dict)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """What an override's key begins with."""
        return tuple(group.name for group in fields(self.schema))

    @cached_property
    def keys(self) -> Mapping[str, Kind[Any]]:
        """What the value of every key may be, in the order of the schema."""
        return dict(_flat(self._record))

    def overridable(self) -> list[str]:
        """The groups that are chosen by name, and the keys that an override may set."""
        groups = [group for group in self.groups if len(self.group_options(group)) > 1]
        named = {f"{group}.name" for group in groups}
        return [*groups, *(key for key in self.keys if key not in named and not key.startswith(f"{CHECKPOINT}."))]

    def chosen(self, group: str, values: Mapping[str, Any]) -> str:
        """The choice of a group that a configuration's values are: its name, or the mode that has them."""
        if group == "workload":
            return next(name for name, mode in self.modes.items() if _listed(asdict(mode)) == _listed(values[group]))
        return str(values[group]["name"])

    def words(self, key: str) -> tuple[str, ...]:
        """The words that a key may have, or the choices of a group; none of a key that takes numbers or text."""
        if key in self.groups:
            return tuple(self.group_options(key))
        return words(self.keys[key]) if key in self.keys else ()

    def keys_called(self, name: str) -> list[str]:
        """The keys, or the group, that a name alone stands for: their last part, or what others call them."""
        name = name.strip().lower().replace("-", "_")
        whole = ALSO_CALLED.get(name, name)
        if whole in self.groups or whole in self.keys:
            return [whole]
        return [key for key in self.keys if key.rpartition(".")[2] == name and not key.startswith(f"{CHECKPOINT}.")]

    def meant(self, key: str, value: str, near_names: Sequence[str]) -> str:
        """The end of an error about a key that does not exist: the keys that may have been meant, with its value.

        near_names: the names that there are in its place.
        """
        from difflib import get_close_matches

        if get_close_matches(key, near_names, n=1, cutoff=0.9):  # a slip of the fingers
            return near(key, near_names)
        name = key.strip(" +~").rpartition(".")[2]
        found = self.keys_called(name) or [group for group in self.groups if value in self.group_options(group)]
        if not found and "." not in key:
            leaves = {each.rpartition(".")[2] for each in self.keys}
            close = get_close_matches(name.lower(), [*near_names, *leaves], n=1, cutoff=0.75)
            found = [] if not close or close[0] in near_names else self.keys_called(close[0])
        if not found:
            return near(key, near_names)
        return did_you_mean(f"{each}={printable(value, 60)}" for each in found[:_NAMED])

    @cached_property
    def _example(self) -> str:
        """An override that all may write: the mode that goes without saying."""
        usual = asdict(cast("Any", self.schema)().workload)
        return f"workload={next(name for name, mode in self.modes.items() if _listed(asdict(mode)) == _listed(usual))}"

    @cached_property
    def _record(self) -> Record:
        return self._record_of(self.schema, "")

    def _record_of(self, schema: Callable[[], Any], path: str) -> Record:
        kinds: dict[str, Kind[Any]] = {}
        for each in fields(cast("Any", schema)):
            name, group = f"{path}{each.name}", cast("Any", each.default_factory)
            if is_dataclass(group):
                kinds[each.name] = self._record_of(cast("Any", group), f"{name}.")
            else:
                kinds[each.name] = COMMON_KINDS[name] if name in COMMON_KINDS else self.kinds[name]
        return Record(kinds, "the configuration", defaults=asdict(schema()), missing="null is no value of it")

    def read(self, content: object, who: str = "config: ") -> Schema:
        """The configuration that a mapping states; keys that it leaves out have the published values.

        Raises `ModelMeterError`, in words that begin with `who`, for a key that does not exist and a value that is not
        allowed. Nothing of it is interpolated or looked up. Results of before there were engines and checkpoints name
        none: the engine is that of the execution, the checkpoint is the first.
        """
        if isinstance(content, Mapping):
            content = {**self._left_out(content), **content}
        return cast("Schema", build(cast("Any", self.schema), self._record.read(who, content)))

    def _left_out(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The groups that results did not have from the start, as they were meant."""
        execution = content.get("execution")
        name = execution.get("name") if isinstance(execution, Mapping) else None
        engine = ENGINE_OF.get(name) if isinstance(name, str) else None
        return {
            **({} if engine is None else {"engine": {"name": engine}}),
            CHECKPOINT: asdict(self.checkpoint_facts(self.checkpoints[0])),
        }

    def checkpoint_facts(self, name: str) -> CheckpointSchema:
        """What the file of one of `checkpoints` says of it."""
        return CheckpointSchema(**_stated(self.module, name)[CHECKPOINT])

    def register_program(self) -> None:
        """What a Hydra program finds beside the model's own files: the common ones, and the named modes."""
        _register_search_path()
        self.register_workloads()

    def register_folder(self, arguments: Sequence[str]) -> list[str]:
        """The arguments of a Hydra program, with the folder of a user's own checkpoint as a choice that Hydra finds.

        As everywhere, nothing of it goes before a group that is chosen by name.
        """
        from hydra.core.config_store import ConfigStore
        from omegaconf import OmegaConf

        folder, others = self._folder_of(arguments)
        if folder is None:
            return list(arguments)
        chosen = [argument.partition("=")[0] for argument in others]
        values = self.files.read(folder, {**self.kinds, **COMMON_KINDS})
        values[CHECKPOINT] = {key: value and value.replace("${", "\\${") for key, value in values[CHECKPOINT].items()}
        node = OmegaConf.create({group: stated for group, stated in values.items() if group not in chosen})
        ConfigStore.instance().store(group=CHECKPOINT, name=OWN, node=node, package="_global_")
        return [f"{CHECKPOINT}={OWN}", *others]

    def register_workloads(self) -> None:
        """Put the named modes into Hydra's store as the group `workload`, and the schemes as `precision`."""
        from hydra.core.config_store import ConfigStore

        for name in PRECISIONS:
            ConfigStore.instance().store(group=PRECISION, name=name, node=asdict(PrecisionSchema(name)))
        for name, workload in self.modes.items():
            ConfigStore.instance().store(group="workload", name=name, node=asdict(workload))

    def group_options(self, group: str) -> list[str]:
        """The choices of a group: workload's modes, the model's executions, or the files of its folders."""
        if group == "workload":
            return list(self.modes)
        if group == "execution":  # the common folder has those of all models
            return sorted(self.executions)
        if group == PRECISION:
            return list(PRECISIONS)
        if group == CHECKPOINT:
            return list(self.checkpoints)
        return sorted({name for module in (self.module, COMMON_CONFIGS) for name in _files(module, group)})

    def check_overrides(
        self, overrides: Sequence[str], extra: Mapping[str, object] | None = None, *, program: bool = False
    ) -> None:
        """Raise `ModelMeterError` for an override that is none, or whose key or choice does not exist.

        extra: further top-level keys and their values, of a program that has a configuration of its own around this
        one. program: these are the command line of a Hydra program, which may sweep and say how Hydra itself runs;
        everywhere else an override is one value of one key, so that none reaches Hydra's plugins, search path or
        launchers.
        """
        _check_amount(overrides)
        tree: dict[str, object] = asdict(cast("Any", self.schema)()) | dict(extra or {})
        for override in overrides:
            key, equals, value = (part.strip() for part in override.partition("="))
            named = f'override "{printable(override, 100)}"'
            if re.match(r"[+~]*hydra\b", key.lstrip("'\"")):
                if program:
                    continue
                raise ModelMeterError(
                    f"{named} is for Hydra itself; a cost model has the keys of {', '.join(self.groups)} alone."
                )
            if key.startswith(("+", "~")):
                verb = "adds" if key.startswith("+") else "removes"
                raise ModelMeterError(
                    f"{named} {verb} a key; the configuration is closed, nothing can be added or removed."
                )
            if not equals:
                raise ModelMeterError(f"{named} has no value; write key=value, as in {self._example}.")
            if "@" in key or "/" in key:
                raise ModelMeterError(f"{named} names a package; write key=value, as in {self._example}.")
            if "${" in override:
                raise ModelMeterError(f"{named} is an interpolation; write the value itself.")
            self._check_key(key, value, tree)
            if key.startswith(f"{CHECKPOINT}."):
                raise ModelMeterError(
                    f"{named} would say another origin of the same values; choose a checkpoint, by checkpoint=NAME "
                    f"({', '.join(self.checkpoints)}) or checkpoint=FOLDER."
                )
            if key in self.groups and value not in self.group_options(key) and not (program and "," in value):
                if key == PRECISION:
                    raise ModelMeterError(f"{key}={value}: there is no such {key}; {no_such_precision(value)}")
                options = self.group_options(key)
                if options == [DEFAULT]:  # a group of keys, which nobody has named choices of
                    keys = ", ".join(each for each in self.keys if each.startswith(f"{key}."))
                    raise ModelMeterError(f"{key}={value}: {key} is a group of keys; set one of {keys}.")
                raise ModelMeterError(f"{key}={value}: there is no such {key}; {near(value, options)}")
            if not program and not _PLAIN.fullmatch(value):
                _check_single(named, override)

    def _check_key(self, key: str, value: str, tree: Mapping[str, object]) -> None:
        node: object = tree
        walked: list[str] = []
        for name in key.split("."):
            if not isinstance(node, Mapping) or name not in node:
                if isinstance(node, Mapping):
                    options = [".".join((*walked, option)) for option in node]
                else:  # below a key, where nothing is: those beside it
                    options = [each for each in self.keys if each.rpartition(".")[0] == ".".join(walked[:-1])]
                raise ModelMeterError(
                    f"config key {key} does not exist (no figure is scaled, every key is a knob of the model); "
                    f"{self.meant(key, value, options)}"
                )
            node = node[name]
            walked.append(name)

    def compose(self, overrides: Sequence[str]) -> Schema:
        """The configuration that Hydra composes from the defaults, the engine and `overrides`, which win.

        checkpoint=FOLDER among them: with the values of that checkpoint's files in the place of the defaults.
        """
        check_overrides(overrides)
        folder, given = self._folder_of(overrides)
        self.check_overrides(given)
        given = [*self._of_engine(given), *(each for override in given for each in self._expanded(override))]
        content = self.plain_content(given)
        if content is None:
            content = deepcopy(self._composed(tuple(given)))
        if folder is not None:
            keys = [override.partition("=")[0].strip() for override in given]
            _put(content, self.files.read(folder, {**self.kinds, **COMMON_KINDS}), keys)
        return self.read(content)

    def _expanded(self, override: str) -> list[str]:
        """The overrides that one stands for."""
        key, _, value = (part.strip() for part in override.partition("="))
        expand = self.expands.get(key)
        expanded = None if expand is None else expand(value)
        return [override] if expanded is None else expanded

    def plain_content(self, overrides: Sequence[str]) -> dict[str, Any] | None:
        """What Hydra would compose of plain overrides, without importing it, which takes half of a page's time.

        Plain are a checkpoint, a mode, an engine, an execution, and keys with a whole number, a word, true, false or
        null. None for all else: that is Hydra's to read.
        """
        pairs = [tuple(part.strip() for part in override.partition("=")[::2]) for override in overrides]
        checkpoint = next((value for key, value in pairs if key == CHECKPOINT), self.checkpoints[0])
        if checkpoint not in self.checkpoints:
            return None
        stated = dict(_stated(self.module, checkpoint))
        defaults = stated.pop("defaults", [])
        if not stated.keys() <= set(self.groups) or any(each.keys() != {_OWN_MODE} for each in defaults):
            return None
        content = asdict(cast("Any", self.schema)())
        _put(content, stated, ())
        groups = [key for key, _ in pairs if key in self.groups]
        if len(set(groups)) < len(groups):
            return None
        if "workload" not in groups:
            pairs += [("workload", each[_OWN_MODE]) for each in defaults]
            groups.append("workload")
        for key, value in sorted(pairs, key=lambda pair: pair[0] not in groups):  # a key wins over its group
            if key in self.keys and _PLAIN.fullmatch(value):
                *path, last = key.split(".")
                node = content
                for name in path:
                    node = node[name]
                node[last] = _plain(value)
            elif key == "workload":
                content[key] |= _listed(asdict(self.modes[value]))
            elif key == CHECKPOINT:
                continue
            elif key in ("execution", PRECISION):
                content[key] |= {"name": value}
            elif key == "engine":
                for group, values in defaults_of(value).items():
                    content[group] |= values
            else:
                return None
        return content

    @cached_property
    def _composed(self) -> Callable[[tuple[str, ...]], dict[str, Any]]:
        """The groups that Hydra composes from overrides; what was asked for lately is not composed again.

        It reads nothing but the package's own files, which stay as they are.
        """
        return lru_cache(maxsize=256)(lambda overrides: self._content(self.compose_config(self.name, overrides)))

    def _folder_of(self, overrides: Sequence[str]) -> tuple[str | None, list[str]]:
        """(the folder of a user's own checkpoint or None, the other overrides)."""
        folder, others = None, []
        for override in overrides:
            key, _, value = (part.strip() for part in override.partition("="))
            if key == CHECKPOINT and value not in self.checkpoints and is_folder(value):
                folder = value
            else:
                others.append(override.strip())
        return folder, others

    def _of_engine(self, overrides: Sequence[str]) -> list[str]:
        """What the engine that they choose adds to overrides: itself or its execution, and its keys."""
        chosen = choose(overrides, tuple(self.executions))
        keys = {override.partition("=")[0].strip().replace("execution.name", "execution") for override in overrides}
        missing = [f"{group}={name}" for group, name in chosen._asdict().items() if group not in keys]
        return [*missing, *(f"{key}={value}" for key, value in self.engine_keys.get(chosen.engine, {}).items())]

    def compose_config(self, config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
        """What Hydra composes from configs/`config_name`.yaml and `overrides`, not yet held against the schema.

        Hydra's own `compose` goes through a singleton, which one thread at a time can have, and no program that Hydra
        runs; its loader is asked instead, which has nothing to do with either.
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
            ("main", f"pkg://{self.module}"),
            ("common", f"pkg://{COMMON_CONFIGS}"),
            ("schema", "structured://"),
        ):
            search_path.append(provider, path)
        with _HYDRA:
            Plugins.instance()  # registers where configurations come from
            self.register_workloads()
            base = version.VersionBase.instance()
            outer = base.version_base
            version.setbase("1.3")
            try:
                config = ConfigLoaderImpl(search_path).load_configuration(
                    config_name, [*overrides, *_without_running()], RunMode.RUN, from_shell=False
                )
            except HydraException as error:
                raise ModelMeterError(f"config: {' '.join(str(error).split())}") from error
            finally:
                base.version_base = outer
        with open_dict(config):
            del config["hydra"]
        return config

    def resolve(self, config: DictConfig) -> Schema:
        """What Hydra composed, held against the schema."""
        return self.read(self._content(config))

    def _content(self, config: DictConfig) -> dict[str, Any]:
        """The groups of what Hydra composed as plain values."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            return {group: OmegaConf.to_container(config[group], resolve=True) for group in self.groups}
        except OmegaConfBaseException as error:
            raise ModelMeterError(f"config: {' '.join(str(error).split())}") from error


def _plain(value: str) -> Any:
    """A value of `_PLAIN` as Hydra's grammar reads it."""
    if value.isdecimal():
        return int(value)
    return _CONSTANTS.get(value.lower(), value)


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with lists in the place of tuples, as YAML has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _put(content: dict[str, Any], values: Mapping[str, Any], given: Sequence[str], path: str = "") -> None:
    """Put values into a configuration, but for keys that overrides gave, themselves or with their group."""
    for name, value in values.items():
        key = f"{path}{name}"
        if key in given:
            continue
        if isinstance(value, Mapping):
            _put(content[name], value, given, f"{key}.")
        else:
            content[name] = value


def _files(module: str, group: str) -> list[str]:
    """The choices of a group that stand as files in a package."""
    folder = resources.files(module) / group
    if not folder.is_dir():
        return []
    return [file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")]


@cache
def _stated(module: str, checkpoint: str) -> Mapping[str, Any]:
    """What the file of one of a model's checkpoints says, by group."""
    path = str(resources.files(module) / CHECKPOINT / f"{checkpoint}.yaml")
    return cast("Mapping[str, Any]", read_yaml(f"checkpoint {checkpoint}", path, 2**16))


@cache
def _without_running() -> tuple[str, ...]:
    """Overrides that leave out what Hydra has for running a program: eight files, a fifth of the time."""
    from hydra.conf import HydraConf

    groups = [group for default in HydraConf().defaults for group, choice in default.items() if choice is not None]
    return ("hydra.job.name=modelmeter", *(f"~hydra/{group}" for group in groups))


@cache  # a second plugin would find them twice
def _register_search_path() -> None:
    """Let Hydra programs of this process search `COMMON_CONFIGS`, behind the program's own files."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class CommonSearchPath(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search_path.append("common", f"pkg://{COMMON_CONFIGS}")

    Plugins.instance().register(CommonSearchPath)


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
    if _parsed(named, override).is_sweep_override():
        raise ModelMeterError(f"{named} stands for several values; give one, or a list in brackets.")


def _parsed(named: str, override: str) -> Override:
    """What Hydra's parser makes of an override."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        with _HYDRA:
            return OverridesParser.create().parse_override(override.strip())
    except (HydraException, RecursionError, ValueError) as error:
        raise ModelMeterError(
            f"{named} is none that Hydra can read ({' '.join(str(error).split())}); write key=value."
        ) from error


def sweep_values(override: str, most: int, options: Sequence[str] = (), *, words: bool = False) -> list[str]:
    """The values that KEY=VALUES stands for, each as an override has it, by Hydra's grammar of sweeps.

    options: what `glob` chooses from. words: the values are no override's, so quotes around them are not theirs. Raises
    `ModelMeterError` for what Hydra cannot read, for no value, one that comes twice, and more than `most`.

    >>> sweep_values("workload=tiny,base", 10), sweep_values("runtime.batch_size=range(2,9,3)", 10)
    (['tiny', 'base'], ['2', '5', '8'])
    """
    from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString, RangeSweep
    from hydra.core.override_parser.types import Override as Parsed

    _check_amount([override])
    named = f'override "{printable(override, 100)}"'
    key, _, text = (part.strip() for part in override.partition("="))
    if not text:
        raise ModelMeterError(f"{named} has no values; write {key}=a,b or {key}=range(1,9).")
    parsed = _parsed(named, override)
    found = parsed.value()
    if not parsed.is_sweep_override():
        return [str(found) if words and text[0] in "'\"" else text]
    elements: Iterable[Any]
    if isinstance(found, ChoiceSweep):
        elements = found.list
    elif isinstance(found, RangeSweep):
        elements = found.range()
    elif isinstance(found, Glob):
        elements = found.filter(list(options))
    else:
        raise ModelMeterError(f"{named} is an interval, which has no values of its own; write range(START,STOP,STEP).")

    def as_text(element: Any) -> str:
        plain = element.text if isinstance(element, QuotedString) else element
        return str(plain) if words else Parsed._get_value_element_as_str(element)

    values = [as_text(element) for element in islice(elements, most + 1)]
    if len(values) > most:
        raise ModelMeterError(f"{named} stands for more than {most:,} values; give fewer, or a larger step.")
    if not values:
        of = f"; the options are {', '.join(options)}" if options else ""
        raise ModelMeterError(f"{named} has no values{of}.")
    for value, times in Counter(values).items():
        if times > 1:
            raise ModelMeterError(f"{named} says {printable(value, 60)} {times} times; give each value once.")
    return values
