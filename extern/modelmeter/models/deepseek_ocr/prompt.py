"""How many positions a prompt takes beside its image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from modelmeter.errors import ModelMeterError

IMAGE: Final = "<image>"
BEGIN_TOKENS: Final = 1


def count_prompt_tokens(prompt: str, tokenizer_path: str | None) -> int:
    r"""Tokens of the text around `<image>`, the begin token included, by a tokenizer from a local folder.

    `\n` written as two signs is a newline: a command line has no other way to write one.
    Source: the published preprocessing: text is split at `<image>` and each piece is encoded without special tokens.
    """
    if tokenizer_path is None:
        raise ModelMeterError(
            "runtime: a prompt needs a tokenizer; set runtime.tokenizer_path to a local folder that holds one, "
            "or give the number yourself with runtime.prompt_tokens."
        )
    folder = Path(tokenizer_path)
    if not folder.is_dir():
        raise ModelMeterError(
            f"runtime: tokenizer_path={tokenizer_path} is no folder; name one that holds a tokenizer, "
            "or give the number yourself with runtime.prompt_tokens."
        )
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ModelMeterError(
            "runtime: counting a prompt's tokens needs transformers; pip install 'modelmeter[verify]', "
            "or give the number yourself with runtime.prompt_tokens."
        ) from error
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise ModelMeterError(
            f"runtime: {tokenizer_path} holds no tokenizer that transformers can load ({type(error).__name__}); "
            "put tokenizer.json there, or give the number yourself with runtime.prompt_tokens."
        ) from error
    pieces = (tokenizer.encode(piece, add_special_tokens=False) for piece in prompt.replace("\\n", "\n").split(IMAGE))
    return BEGIN_TOKENS + sum(len(piece) for piece in pieces)
