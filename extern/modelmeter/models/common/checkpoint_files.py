"""A user's own checkpoint: a folder with the `config.json` that its library saved, as values of our configuration.

A model states in its `checkpoint_files.py` which classes it takes, and what each key of their files means (`Keys`): it
sets a value of the configuration, it has to have the value that is modelled, or it changes no cost. A key that is none
of these is refused by its name, since it could. What a file leaves out has the model's published value.

No weights are opened, and no code of the folder runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modelmeter.documents import parse_json, read_regular
from modelmeter.errors import ModelMeterError, near, printable, shown
from modelmeter.kinds import Kind
from modelmeter.units import MODEL_DTYPES

CONFIG: Final = "config.json"

#: where libraries keep what happens to an image before the model, the first that is there; the second may keep it
#: under a key of its own
PREPROCESSORS: Final = ("preprocessor_config.json", "processor_config.json")
IMAGE_PROCESSOR: Final = "image_processor"

#: largest file that is read
MOST_BYTES: Final = 2**20

#: says that weights are quantised, in every library's words
QUANTIZATION: Final = "quantization_config"

#: where a mapping of any model says in which type the weights are: null, or that of `runtime.dtype`
DTYPES: Final = ("dtype", "torch_dtype")

#: what no mapping of any model changes the cost by: names, special tokens, training, versions, and how tokens are
#: chosen, which transformers 4 wrote into every mapping
HARMLESS: Final = frozenset(
    {
        "_attn_implementation_autoset",
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "auto_map",
        "bad_words_ids",
        "begin_suppress_tokens",
        "bos_token_id",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "dropout",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "eos_token_id",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "id2label",
        "initializer_factor",
        "initializer_range",
        "label2id",
        "layer_norm_eps",
        "length_penalty",
        "max_length",
        "min_length",
        "model_type",
        "no_repeat_ngram_size",
        "pad_token_id",
        "prefix",
        "problem_type",
        "processor_class",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict",
        "return_dict_in_generate",
        "rms_norm_eps",
        "sep_token_id",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torchscript",
        "transformers_version",
        "typical_p",
        "unsloth_fixed",
        "unsloth_version",
        "use_bfloat16",
        "use_cache",
    }
)

#: what would change the cost in any mapping of any model, with the values that are modelled
FIXED: Final[Mapping[str, Sequence[Any]]] = {
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "is_encoder_decoder": (False,),
    "is_decoder": (False,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "output_attentions": (False,),
    "output_hidden_states": (False,),
    "output_scores": (False,),
    "pruned_heads": ({},),
    "tie_encoder_decoder": (False,),
}


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What the keys of one mapping of a file mean; any other is refused.

    values: those that set a value of the configuration, by its key. fixed: those of which these values alone are
    modelled, beside `FIXED`. harmless: those that change no cost, beside `HARMLESS`. within: mappings of further keys;
    one of them may be a number instead, where it is among `values` too. required: those that may not be left out,
    because the code that reads the file would take another value than the published one.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    harmless: Collection[str] = ()
    within: Mapping[str, Keys] = field(default_factory=dict)
    required: Sequence[str] = ()

    def known(self) -> list[str]:
        """All keys that are read."""
        return [*self.values, *DTYPES, *self.fixed, *self.within, *self.harmless]

    def joined(self, other: Keys) -> Keys:
        """These keys and another's, which go before these; what both have within them is joined, too."""
        within = {name: self.within[name].joined(keys) for name, keys in other.within.items() if name in self.within}
        return Keys(
            values={**self.values, **other.values},
            fixed={**self.fixed, **other.fixed},
            harmless=(*self.harmless, *other.harmless),
            within={**self.within, **other.within, **within},
            required=(*self.required, *other.required),
        )


#: makes of the values that a folder's files state, by key, those of the configuration; raises `ModelMeterError`, in
#: words that begin with its first argument, where they do not fit together
Finish = Callable[[str, dict[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ConfigClass:
    """What `config.json` says of one class: its keys, and what follows of several of them."""

    keys: Keys
    finish: Finish = lambda _, values: values


@dataclass(frozen=True, kw_only=True)
class CheckpointFiles:
    """How one model reads the folders of its users' checkpoints.

    classes: what each class says that `config.json` may name in `architectures`. model_types: the class that a file
    without `architectures` is of, by its `model_type`. preprocessor: what the files of `PREPROCESSORS` say; None: they
    are not read. preprocessor_required: without one the image rule is not known. kinds: what values may be that are no
    keys of the configuration themselves.
    """

    classes: Mapping[str, ConfigClass]
    model_types: Mapping[str, str] = field(default_factory=dict)
    preprocessor: Keys | None = None
    preprocessor_required: bool = False
    kinds: Mapping[str, Kind[Any]] = field(default_factory=dict)

    def class_of(self, config: Mapping[str, Any]) -> str | None:
        """Which of `classes` a `config.json` is of, None if of none."""
        named = _class_names(config) or [self.model_types.get(str(config.get("model_type")), "")]
        return named[0] if named[0] in self.classes else None

    def read(self, folder: str, kinds: Mapping[str, Kind[Any]]) -> dict[str, Any]:
        """The values of a folder's checkpoint by group, `checkpoint` among them. kinds: of the configuration's keys."""
        config = read_config(folder)
        taken = self.class_of(config)
        if taken is None:
            raise ModelMeterError(
                f"{_file(folder, CONFIG)} is of {class_words(config)}; this model takes {', '.join(self.classes)}."
            )
        collected = _Collected({**kinds, **self.kinds})
        collected.add(_file(folder, CONFIG), config, self.classes[taken].keys)
        names = [CONFIG]
        if self.preprocessor is not None:
            names += self._preprocess(folder, collected, self.preprocessor)
        values = {key: value for key, (_, value) in collected.found.items()}
        return _by_group({**self.classes[taken].finish(f"checkpoint {folder}", values), **_origin(folder, names)})

    def _preprocess(self, folder: str, collected: _Collected, keys: Keys) -> list[str]:
        """Add what the first of `PREPROCESSORS` says that is there; its name."""
        for name in PREPROCESSORS:
            path = _file(folder, name)
            if Path(path).exists():
                content = _read(path)
                inner = content.get(IMAGE_PROCESSOR)
                collected.add(path, content if inner is None else inner, keys)
                return [name]
        if self.preprocessor_required:
            raise ModelMeterError(
                f"checkpoint {folder} has neither {' nor '.join(PREPROCESSORS)}, so what becomes of a page is not "
                "known; put the one that was published with the weights beside config.json."
            )
        return []


class _Collected:
    """Values of the configuration, each with the key of the file that it came from."""

    def __init__(self, kinds: Mapping[str, Kind[Any]]) -> None:
        self.kinds = kinds
        self.found: dict[str, tuple[str, Any]] = {}

    def add(self, who: str, content: Any, keys: Keys, path: str = "") -> None:
        """What a mapping says; raises `ModelMeterError` for a key or a value that is not modelled."""
        if not isinstance(content, Mapping):
            raise ModelMeterError(
                f"{who}: {path.rstrip('.')} holds {shown(content)}; a mapping of its keys is expected."
            )
        if content.get(QUANTIZATION) is not None:
            raise ModelMeterError(
                f"{who}: {path}{QUANTIZATION}={shown(content[QUANTIZATION])}: quantised weights are not read from a "
                "file; give the config.json of the checkpoint that they were made of, and precision=NAME."
            )
        for name in keys.required:
            if name not in content:
                raise ModelMeterError(f"{who}: {path}{name} is missing; add it.")
        for name, value in content.items():
            self._add_key(who, f"{path}{name}", name, value, keys)

    def _add_key(self, who: str, key: str, name: str, value: Any, keys: Keys) -> None:
        if name in keys.within and not (name in keys.values and isinstance(value, int)):
            if value is not None:  # the library's own defaults
                self.add(who, value, keys.within[name], f"{key}.")
        elif name in keys.values:
            self._set(who, key, keys.values[name], value)
        elif name in DTYPES:
            if value is not None:
                _check_modelled(who, key, value, MODEL_DTYPES)
                self._set(who, key, "runtime.dtype", value)
        elif name in keys.fixed or name in FIXED:
            _check_modelled(who, key, value, keys.fixed.get(name) or FIXED[name])
        elif value is not None and name not in HARMLESS and name not in keys.harmless:  # null: there is none
            raise ModelMeterError(
                f"{who}: {key}={shown(value)} is not modelled and could change the cost; {near(name, keys.known())} "
                "Take it out if it changes nothing."
            )

    def _set(self, who: str, key: str, target: str, value: Any) -> None:
        read = self.kinds[target].read(f"{who}: {key}", value)
        other, earlier = self.found.setdefault(target, (f"{who}: {key}", read))
        if not _same(earlier, read):
            raise ModelMeterError(
                f"{who}: {key}={shown(read)}, but {other.removeprefix(f'{who}: ')}={shown(earlier)}: some code reads "
                "the one, some the other; make them the same."
            )


def is_folder(value: str) -> bool:
    """Whether a checkpoint is asked for by its folder: a path, or a folder that is there."""
    return os.path.basename(value) != value or value in (".", "..") or (value != "" and Path(value).is_dir())


def read_config(folder: str) -> Mapping[str, Any]:
    """The `config.json` of a folder, a mapping; raises `ModelMeterError` if there is none."""
    if not Path(folder).is_dir():
        raise ModelMeterError(f"checkpoint {folder} is no folder; give one with a {CONFIG}, or a checkpoint's name.")
    return _read(_file(folder, CONFIG))


def class_words(config: Mapping[str, Any]) -> str:
    """What a `config.json` says that it is, for messages."""
    named = _class_names(config)
    model_type = config.get("model_type")
    kind = f"model_type {printable(str(model_type), 60)}" if model_type is not None else "no model_type"
    return f"{printable(named[0], 100)} ({kind})" if named else f"{kind}, without architectures"


def _class_names(config: Mapping[str, Any]) -> list[str]:
    named = config.get("architectures")
    return [str(each) for each in named] if isinstance(named, list) else []


def _file(folder: str, name: str) -> str:
    return os.path.join(folder, name)


def _read(path: str) -> Mapping[str, Any]:
    content = parse_json(path, read_regular(path, path, MOST_BYTES))
    if not isinstance(content, dict):
        raise ModelMeterError(f"{path} holds {shown(content)}; a mapping of a model's keys is expected.")
    return content


def _origin(folder: str, names: Sequence[str]) -> dict[str, Any]:
    """What of the group `checkpoint` a folder says: its name, its files, and a digest of what these hold."""
    import hashlib  # OpenSSL takes 2 ms to load, and few read a folder

    digest = hashlib.sha256()
    for name in names:
        digest.update(read_regular(name, _file(folder, name), MOST_BYTES))
    return {
        "checkpoint.name": printable(Path(folder).resolve().name or "folder", 200),
        "checkpoint.source": f"{' and '.join(names)} in {printable(folder, 500)}",
        "checkpoint.revision": f"sha256 {digest.hexdigest()[:16]}",
        "checkpoint.unconfirmed": None,
    }


def _check_modelled(who: str, key: str, value: Any, modelled: Sequence[Any]) -> None:
    if not any(_same(value, each) for each in modelled):
        words = " or ".join(shown(each) for each in modelled)
        raise ModelMeterError(f"{who}: {key}={shown(value)} is not modelled; {words} is.")


def _same(one: Any, other: Any) -> bool:
    """Equal, and true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _by_group(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their keys as mappings within mappings."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".")
        node = nested
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    return nested
