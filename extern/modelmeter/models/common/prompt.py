"""How many positions a prompt takes beside its image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modelmeter.documents import read_regular
from modelmeter.errors import ModelMeterError

IMAGE: Final = "<image>"
BEGIN_TOKENS: Final = 1

#: of a tokenizer.json; the published one has 10 MB
_MOST_BYTES: Final = 2**26


def count_prompt_tokens(prompt: str, tokenizer_path: str | None) -> int:
    r"""Tokens of the text around `<image>`, the begin token included, by the tokenizer.json of a local folder.

    `\n` written as two signs is a newline: a command line has no other way to write one.
    Source: the published preprocessing: text is split at `<image>` and each piece is encoded without special tokens.
    """
    if tokenizer_path is None:
        raise ModelMeterError(
            "runtime: a prompt needs a tokenizer; set runtime.tokenizer_path to a local folder that holds one, "
            "or give the number yourself with runtime.prompt_tokens."
        )
    pieces = encoded(_pieces(prompt), tokenizer_path, "runtime: tokenizer_path", "runtime.prompt_tokens")
    return BEGIN_TOKENS + sum(pieces)


def encoded(texts: Sequence[str], folder: str, who: str, instead: str) -> list[int]:
    """Tokens of each text by the tokenizer.json of a local folder, none of them special.

    who: what the folder was given as. instead: what else says the number. Raises `ModelMeterError` for what is no
    tokenizer.
    """
    file = Path(folder) / "tokenizer.json"
    content = read_regular(f"{who}={folder}: its tokenizer.json", file, _MOST_BYTES)
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelMeterError(
            f"{who}: counting tokens needs tokenizers; pip install tokenizers, or give the number yourself with "
            f"{instead}."
        ) from error
    try:  # tokenizer.json alone: no other file of the folder is opened, so no code in it can run
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
    except BaseException as error:  # the library raises no type of its own, and its panics are no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ModelMeterError(
            f"{who}: {file} is no tokenizer that can be read ({error}); put another one there, "
            f"or give the number yourself with {instead}."
        ) from error


def _pieces(prompt: str) -> list[str]:
    return prompt.replace("\\n", "\n").split(IMAGE)
