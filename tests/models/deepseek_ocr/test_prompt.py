"""A prompt's tokens, by a real tokenizer that the test makes."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.prompt import count_prompt_tokens
from modelmeter.models.deepseek_ocr import load_cost_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer of one token a word or newline, which would put a begin token in front if it were asked to."""
    words = ["<unk>", "<begin>", "\n", "Free", "OCR", ".", "read", "this"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Punctuation()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<begin> $A", special_tokens=[("<begin>", 1)])
    tokenizer.add_special_tokens([AddedToken("<|grounding|>", special=True)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "prompt, tokens",
    [
        ("<image>\nFree OCR.", 1 + 1 + 3),
        ("<image>\n<|grounding|>read this.", 1 + 1 + 1 + 3),
        ("read <image> this", 1 + 1 + 1),  # pieces on both sides of the image
        ("<image>", 1),
        ("read this", 1 + 2),
    ],
)
def test_the_begin_token_and_the_text_around_the_image(folder: Path, prompt: str, tokens: int) -> None:
    assert count_prompt_tokens(prompt, str(folder)) == tokens


def test_the_cost_model_counts_by_it(folder: Path) -> None:
    counted = load_cost_model([f"runtime.tokenizer_path={folder}", 'runtime.prompt="<image>\\nFree OCR."'])
    declared = load_cost_model(["runtime.prompt_tokens=5"])
    assert counted.prompt_tokens == 5
    assert counted.page(1275, 1650, 3).total == declared.page(1275, 1650, 3).total


def test_without_a_tokenizer_both_ways_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"set runtime.tokenizer_path .* or give .* runtime.prompt_tokens"):
        count_prompt_tokens("read this", None)
    with pytest.raises(ModelMeterError, match=r"nowhere: its tokenizer.json does not exist"):
        count_prompt_tokens("read this", str(tmp_path / "nowhere"))


DAMAGED = {  # what stands in the place of tokenizer.json, what is said
    "text": ("no JSON", "is no tokenizer that can be read"),
    "empty": ("", "is no tokenizer that can be read"),
    "other_json": ('{"version": "1.0"}', "is no tokenizer that can be read"),
    "deep": ("[" * 100_000, "is no tokenizer that can be read"),
    "huge": (" " * (2**26 + 1), r"has 67,108,865 bytes; at most 67,108,864 are read"),
    "nothing": (None, "does not exist"),
}


@pytest.mark.parametrize("content, text", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: str | None, text: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelMeterError, match=text):
        count_prompt_tokens("read this", str(tmp_path))


def test_code_of_a_folder_neither_runs_nor_is_asked_about(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    automatic = json.dumps({"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"})
    for name in ("tokenizer_config.json", "config.json"):
        (folder / name).write_text(automatic)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    assert count_prompt_tokens("read this", str(folder)) == 3
    assert not ran.exists()
    assert capsys.readouterr() == ("", "")


def test_what_a_tokenizer_cuts_or_fills_is_not_counted(folder: Path) -> None:
    file = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(file))
    assert count_prompt_tokens("read this", str(folder)) == 3
