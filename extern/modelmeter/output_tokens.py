"""How many tokens a page's text is, by its class, the tokenizer, language and format: median and 90th percentile.

tokens = characters x tokens a character x what the format makes of text + blocks x tokens of the format a block.

What was counted stands in `output_tokens.yaml`, each figure with its source and its sample. Nothing of it is a fact of
the page at hand, so every estimate carries its assumptions; where no source counts a tokenizer, there is no estimate.

    >>> estimate("letter", "qwen3", text_format="plain").median
    654
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

from modelmeter.documents import read_yaml
from modelmeter.errors import ModelMeterError, near
from modelmeter.kinds import Choice, Flag, Kind, ListOf, Maybe, Number, Record, Some, Text, Whole

_FILE: Final = Path(__file__).with_name("output_tokens.yaml")
_MAX_BYTES: Final = 2**20

DEFAULT_FORMAT: Final = "markdown"

#: pages that stand for a class where one number is not enough: each a share of all
SPREAD: Final = 10

#: parallel texts that languages were counted on
_TEXTS: Final = {
    "manual": "the Debian installation guide",
    "declaration": "the Universal Declaration of Human Rights",
}


class NoRateError(ModelMeterError):
    """No source says how many tokens a tokenizer makes of such a text."""


@dataclass(frozen=True, kw_only=True)
class PageClass:
    """What was counted of a class of pages.

    characters: of a page, the median and the 90th percentile, white space collapsed. rates: tokens a character by
    language and tokenizer, the sample's language first. blocks: of a page at the median, a guess. tabular: it is mostly
    a table. sample_text: which of `samples` reads most like it. sample, source: what was counted, and where that is.
    weak: why it is not to be relied on.
    """

    name: str
    title: str
    characters: tuple[int, int]
    rates: Mapping[str, Mapping[str, Fraction]]
    blocks: Fraction
    tabular: bool
    sample_text: str
    sample: str
    source: str
    weak: str | None

    @property
    def language(self) -> str:
        """Of the pages that were counted."""
        return next(iter(self.rates))


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a format makes of a text, by tokenizer: text and tables times a factor, and tokens more for each block."""

    name: str
    title: str
    text: Mapping[str, Fraction]
    table: Mapping[str, Fraction]
    block: Mapping[str, Fraction]
    weak: str | None


@dataclass(frozen=True, kw_only=True)
class Runaway:
    """A share of pages that repeat until a limit stops them, as published."""

    name: str
    share: float
    what: str
    source: str


@dataclass(frozen=True, kw_only=True)
class TextTokens:
    """Tokens of a page's text: `median` and `p90`, the 90th percentile; assumptions: what they rest on, a line each.

    A page of n tokens has n decode steps: the first token is the prefill's, and the end of the text is one more.
    """

    page_class: str
    median: int
    p90: int
    assumptions: tuple[str, ...]

    def spread(self) -> dict[int, Fraction]:
        """Numbers of tokens, each the share of pages that has it: a log-normal distribution with these percentiles.

        Each is the mean of a tenth of the pages, so that theirs is the mean of all: with m and s of the logarithm and
        a tenth between the quantiles y and z of the normal distribution, 10 m exp(s^2 / 2) (N(z - s) - N(y - s)).
        """
        normal = NormalDist()
        sigma = math.log(self.p90 / self.median) / normal.inv_cdf(0.9) if self.median else 0.0
        below = [0.0, *(normal.cdf(normal.inv_cdf(part / SPREAD) - sigma) for part in range(1, SPREAD)), 1.0]
        scale = SPREAD * self.median * math.exp(sigma**2 / 2)
        shares: dict[int, Fraction] = {}
        for low, high in pairwise(below):
            tokens = round(scale * (high - low))
            shares[tokens] = shares.get(tokens, Fraction(0)) + Fraction(1, SPREAD)
        return shares


@cache
def tokenizers() -> Mapping[str, str]:
    """The vocabularies whose tokens were counted, and what they are."""
    titles: dict[str, str] = _document()["tokenizers"]
    return Record(dict.fromkeys(titles, Text()), "tokenizers").read("output_tokens.yaml: tokenizers", titles)


def _by_tokenizer(what: str, most: int) -> Kind[dict[str, Fraction]]:
    return Some(tuple(tokenizers()), Number(Fraction(0), Fraction(most)), what)


@cache
def page_classes() -> Mapping[str, PageClass]:
    """All classes of pages, by name."""
    kinds: dict[str, Kind[Any]] = {
        "title": Text(),
        "characters": ListOf(Whole(1, 10**6), 2, 2),
        "sample": Text(),
        "source": Text(),
        "weak": Maybe(Text()),
        "tabular": Flag(),
        "sample_text": Choice(tuple(samples())),
        "blocks": Number(Fraction(0), Fraction(1000)),
    }
    found = {}
    for name, given in _document()["classes"].items():
        rates = Record(dict.fromkeys(given["rates"], _by_tokenizer("rates", 10)), "rates by language")
        record = Record(
            {**kinds, "rates": rates}, "a class of pages", defaults={"tabular": False, "sample_text": "prose"}
        )
        read = record.read(f"output_tokens.yaml: {name}", given)
        found[name] = PageClass(name=name, **read | {"characters": tuple(read["characters"])})
    return found


@cache
def formats() -> Mapping[str, Format]:
    """All formats, by name."""
    added = _by_tokenizer("what a format adds", 100)
    record = Record({"title": Text(), "text": added, "table": added, "block": added, "weak": Maybe(Text())}, "a format")
    return {
        name: Format(name=name, **record.read(f"output_tokens.yaml: {name}", given))
        for name, given in _document()["formats"].items()
    }


@cache
def runaways() -> Mapping[str, Runaway]:
    """All published shares of pages that repeat themselves, by name."""
    record = Record(
        {"share": Number(Fraction(0), Fraction(1)), "what": Text(), "source": Text()}, "a share of runaway pages"
    )
    found = {}
    for name, given in _document()["runaways"].items():
        read = record.read(f"output_tokens.yaml: {name}", given)
        found[name] = Runaway(name=name, **read | {"share": float(read["share"])})
    return found


@cache
def _languages() -> tuple[Mapping[str, Mapping[str, Mapping[str, Fraction]]], Mapping[str, Fraction], Sequence[str]]:
    """Tokens a character by text and language, characters beside English, languages without a count of characters."""
    given = _document()["languages"]
    texts = {
        text: Record(dict.fromkeys(given[text], _by_tokenizer("rates", 10)), "rates by language").read(
            f"output_tokens.yaml: {text}", given[text]
        )
        for text in _TEXTS
    }
    characters = Record(dict.fromkeys(given["characters"], Number(Fraction(0), Fraction(10))), "characters").read(
        "output_tokens.yaml: characters", given["characters"]
    )
    return texts, characters, given["uncounted"]


def languages() -> list[str]:
    """The languages that there are figures for."""
    texts, _, _ = _languages()
    named = [language for each in page_classes().values() for language in each.rates]
    return list(dict.fromkeys([*texts["manual"], *texts["declaration"], *named]))


@dataclass(frozen=True, kw_only=True)
class SampleText:
    """A text that tokenizers are compared on, and the tokens that a counted one makes of it."""

    text: str
    tokens: int


@cache
def samples() -> Mapping[str, SampleText]:
    """The texts that a tokenizer of one's own is counted on, by name."""
    record = Record({"text": Text(10_000, printable=False), "tokens": Whole(1, 10**6)}, "a sample")
    given = {name: each for name, each in _document()["samples"].items() if name != "tokenizer"}
    return {name: SampleText(**record.read(f"output_tokens.yaml: {name}", each)) for name, each in given.items()}


def own_rate(page_class: str, tokens: Mapping[str, int]) -> Fraction:
    """Tokens a character of a class's pages with a tokenizer that makes `tokens` of each of `samples()`.

    The counted tokenizer's, times what the other makes of the sample beside it.
    """
    counted = _named("page class", page_class, page_classes())
    beside = Fraction(tokens[counted.sample_text], samples()[counted.sample_text].tokens)
    rate: Fraction = counted.rates[counted.language][_document()["samples"]["tokenizer"]] * beside
    return rate


def estimate(
    page_class: str,
    tokenizer: str | None,
    *,
    language: str | None = None,
    text_format: str = DEFAULT_FORMAT,
    rate: Fraction | None = None,
) -> TextTokens:
    """Tokens of the text of a page of a class.

    tokenizer: one of `tokenizers()`, None where nobody counted the model's. language: None, that of the pages that were
    counted. rate: tokens a character that the user's own tokenizer makes, in place of the counted ones. Raises
    `NoRateError` where no source gives a figure, `ModelMeterError` for names that do not exist.
    """
    counted = _named("page class", page_class, page_classes())
    form = _named("format", text_format, formats())
    if language is not None and language not in languages():
        _, _, uncounted = _languages()
        if language in uncounted:
            raise ModelMeterError(
                f"language {language}: how many characters a page of it has, nobody counted; give --output-tokens."
            )
        raise ModelMeterError(f"language {language} does not exist; {near(language, languages())}")
    spoken = language or counted.language
    if tokenizer is None and rate is None:
        raise NoRateError(
            "no source counts its tokenizer's tokens a character; --tokenizers measures them, or give --output-tokens."
        )
    key = tokenizer or ""
    assumed = [f"characters of a page: {counted.sample}, {counted.source}{_weak(counted.weak)}"]
    characters = [Fraction(each) for each in counted.characters]
    rate_given = rate is not None
    if rate is None:
        rate, how = _rate(counted, key, spoken)
        assumed.append(how)
    else:
        if spoken != counted.language:
            raise NoRateError(f"a tokenizer of one's own is measured in {counted.language}, not in {spoken}.")
        assumed.append(
            f"tokens a character: {float(rate):.3f}, a counted tokenizer's x what the one that was given makes of a "
            f"sample text in English ({counted.sample_text}) beside it"
        )
    _, beside_english, _ = _languages()
    if spoken in beside_english and spoken not in counted.rates:
        characters = [each * beside_english[spoken] for each in characters]
        assumed.append(f"{spoken}: {float(beside_english[spoken]):g} times the characters of a page in English")
    elif spoken not in counted.rates:
        assumed.append(f"{spoken}: as many characters a page as in {counted.language}")
    factors = form.table if counted.tabular else form.text
    if rate_given and key not in factors:
        key = next(iter(factors))
        assumed.append(f"what the format adds: as with {tokenizers()[key]}")
    if key not in factors:
        known = ", ".join(factors) or "none"
        raise NoRateError(f"no source counts {form.name} with its tokenizer; it was counted with {known}.")
    ratio = characters[1] / characters[0]
    assumed.append(
        f"format {form.name} ({form.title}): text x {float(factors[key]):g}, {float(form.block[key]):g} tokens for "
        f"each of {float(counted.blocks):g} blocks, a guess{_weak(form.weak)}"
    )
    median, p90 = (
        round(each * rate * factors[key] + counted.blocks * more * form.block[key])
        for each, more in zip(characters, (Fraction(1), ratio), strict=True)
    )
    return TextTokens(page_class=counted.name, median=median, p90=p90, assumptions=tuple(assumed))


def _rate(counted: PageClass, tokenizer: str, language: str) -> tuple[Fraction, str]:
    """Tokens a character of a class's text in a language, and how they were found."""
    own = counted.rates.get(language, {})
    if tokenizer in own:
        return own[tokenizer], f"tokens a character: {float(own[tokenizer]):g}, counted on such pages"
    texts, _, _ = _languages()
    base_language = next((each for each, rates in counted.rates.items() if tokenizer in rates), None)
    if base_language is None:
        raise NoRateError(f"no source counts the text of {counted.name} pages with its tokenizer.")
    for text, rates in texts.items():
        if all(tokenizer in rates.get(each, {}) for each in (language, base_language)):
            base = counted.rates[base_language][tokenizer]
            ratio = rates[language][tokenizer] / rates[base_language][tokenizer]
            return base * ratio, (
                f"tokens a character: {float(base * ratio):.3f}, {float(base):g} counted on such pages in "
                f"{base_language} x {float(ratio):.2f}, {language} beside {base_language} in {_TEXTS[text]}"
            )
    raise NoRateError(f"no source counts {language} beside {base_language} with its tokenizer.")


def _weak(reason: str | None) -> str:
    return "" if reason is None else f" (weak: {reason})"


def _named(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ModelMeterError(f"{what} {name} does not exist; {near(name, known)}")
    return known[name]


@cache
def _document() -> Mapping[str, Any]:
    document: Mapping[str, Any] = read_yaml("output_tokens.yaml", _FILE, _MAX_BYTES)
    return document
