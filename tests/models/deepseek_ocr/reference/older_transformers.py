"""run_verify_published in a process whose transformers is the installed one, made to look like 4.46.3.

    python -m tests.models.deepseek_ocr.reference.older_transformers reference.folder=FOLDER …

What the published files and our own modules see of it is as in 4.46.3: there is no `unlimited_ocr`; names exist that
have gone since; a cache keeps lists of keys and values; attention takes positions and makes its own rotary tables. The
last two are the replica's. Whether the real 4.46.3 is like that is shown by `make published-check`.
"""

import importlib.abc
import runpy
import sys
from typing import Any

import transformers
from transformers import cache_utils
from transformers.models.llama import modeling_llama
from transformers.utils import import_utils

VERSION = "4.46.3"
GONE = "transformers.models.unlimited_ocr"
PROGRAM = "modelmeter.models.deepseek_ocr.scripts.verify.run_verify_published"


class NotThere(importlib.abc.MetaPathFinder):
    """Finds, before anybody else, that a package does not exist."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == GONE or fullname.startswith(f"{GONE}."):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def become_older() -> None:
    """Change the transformers of this process."""
    sys.meta_path.insert(0, NotThere())

    from modelmeter.models.deepseek_ocr.reference.replica import DecoderAttention, ReplicaCache

    class DynamicCache(ReplicaCache):
        @property
        def key_cache(self) -> list[Any]:
            return self.keys

        @property
        def value_cache(self) -> list[Any]:
            return self.values

    class LlamaAttention(DecoderAttention):
        def __init__(self, config: Any, layer_idx: int) -> None:
            super().__init__(vars(config), layer_idx, eager=True)

        def forward(
            self,
            hidden_states: Any,
            attention_mask: Any = None,
            position_ids: Any = None,
            past_key_value: Any = None,
            use_cache: bool = False,
        ) -> tuple[Any, None, Any]:
            return super().forward(hidden_states, attention_mask, position_ids, past_key_value), None, past_key_value

    class LlamaFlashAttention2(LlamaAttention):
        pass

    changed: dict[Any, dict[str, Any]] = {
        transformers: {"__version__": VERSION},
        cache_utils: {"DynamicCache": DynamicCache},
        modeling_llama: {"LlamaAttention": LlamaAttention, "LlamaFlashAttention2": LlamaFlashAttention2},
        import_utils: {"is_torch_fx_available": lambda: True},
    }
    for module, names in changed.items():
        for name, value in names.items():
            setattr(module, name, value)


if __name__ == "__main__":
    become_older()
    runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)
