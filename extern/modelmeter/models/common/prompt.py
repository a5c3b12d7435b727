"""How many positions a prompt takes beside its image."""

from __future__ import annotations

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
    file = Path(tokenizer_path) / "tokenizer.json"
    content = read_regular(f"runtime: tokenizer_path={tokenizer_path}: its tokenizer.json", file, _MOST_BYTES)
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelMeterError(
            "runtime: counting a prompt's tokens needs tokenizers; pip install tokenizers, "
            "or give the number yourself with runtime.prompt_tokens."
        ) from error
    try:  # tokenizer.json alone: no other file of the folder is opened, so no code in it can run
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        pieces = [tokenizer.encode(piece, add_special_tokens=False) for piece in _pieces(prompt)]
    except BaseException as error:  # the library raises no type of its own, and its panics are no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ModelMeterError(
            f"runtime: {file} is no tokenizer that can be read ({error}); put another one there, "
            "or give the number yourself with runtime.prompt_tokens."
        ) from error
    return BEGIN_TOKENS + sum(len(piece.ids) for piece in pieces)


def _pieces(prompt: str) -> list[str]:
    return prompt.replace("\\n", "\n").split(IMAGE)
