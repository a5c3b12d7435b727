"""Tokens of a page's text by its class, as --page-class and the options beside it say: an estimate with its sources."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from modelmeter.cli.arguments import checkpoint_of
from modelmeter.errors import ModelMeterError, near

if TYPE_CHECKING:
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import ModelPackage
    from modelmeter.output_tokens import Runaway, TextTokens

Function = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class PageText:
    """What was said of the text of pages.

    said: a class of pages, or the column of tables that names each page's. language: None, that of the pages that were
    counted. tokenizers: the folder of the user's own, a folder for each checkpoint or model in it.
    """

    said: str
    language: str | None
    text_format: str
    tokenizers: str | None

    @property
    def column(self) -> str | None:
        """The tables' column of classes, None where all pages are of one class."""
        from modelmeter.output_tokens import page_classes

        return None if self.said in page_classes() else self.said


@dataclass(frozen=True)
class TokensOfModel:
    """Tokens of texts as one model writes them. folder: of a checkpoint of the user's own, in place of a name."""

    text: PageText
    package: ModelPackage
    checkpoint: str | None
    folder: str | None

    @cached_property
    def counted(self) -> Mapping[str, int] | None:
        """Tokens that the user's own tokenizer makes of each sample, None where there is none for this model."""
        from modelmeter.models.common.prompt import encoded
        from modelmeter.output_tokens import samples

        folder = next((each for each in self._folders() if (each / "tokenizer.json").exists()), None)
        if folder is None:
            return None
        texts = {name: each.text for name, each in samples().items()}
        tokens = encoded(list(texts.values()), str(folder), "--tokenizers", "--output-tokens")
        return dict(zip(texts, tokens, strict=True))

    def _folders(self) -> list[Path]:
        """Where a tokenizer of the user's own may lie, the first choice first."""
        if self.text.tokenizers is None:
            return [] if self.folder is None else [Path(self.folder)]
        root = Path(self.text.tokenizers)
        return [*(root / name for name in (self.checkpoint, self.model) if name), root]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.package.__name__.rpartition(".")[2]

    def tokens(self, page_class: str) -> TextTokens:
        """Of a page of a class; raises `NoRateError` where no source gives a figure."""
        from modelmeter.output_tokens import estimate, own_rate

        rate: Fraction | None = None if self.counted is None else own_rate(page_class, self.counted)
        known = self.package.TOKENIZER if self.folder is None else None
        return estimate(page_class, known, language=self.text.language, text_format=self.text.text_format, rate=rate)

    @cached_property
    def classes(self) -> dict[str, TextTokens]:
        """Those that are asked for: the one that was said, or all whose tokens are known, for a column of them."""
        from modelmeter.output_tokens import NoRateError, page_classes

        if self.text.column is None:
            return {self.text.said: self.tokens(self.text.said)}
        found = {}
        for name in page_classes():
            try:
                found[name] = self.tokens(name)
            except NoRateError as error:
                reason = error
        if not found:
            raise reason
        return found

    @property
    def steps(self) -> int | str:
        """Decode steps of every page at the median, or the tables' column of classes."""
        return self.text.column or self.classes[self.text.said].median

    @property
    def class_steps(self) -> tuple[tuple[str, int], ...]:
        """Decode steps at the median by class, for a column of them."""
        return tuple((name, tokens.median) for name, tokens in self.classes.items())

    def spread_of(self, pages: Mapping[int, Any]) -> dict[int, Fraction]:
        """Pages, their number by the median of their class, as pages that are spread around it."""
        by_median = {tokens.median: tokens.spread() for tokens in self.classes.values()}
        spread: dict[int, Fraction] = {}
        for median, count in pages.items():
            for tokens, share in by_median[median].items():
                spread[tokens] = spread.get(tokens, Fraction(0)) + share * Fraction(count)
        return spread

    def assumptions(self, steps: Collection[int] | None = None) -> list[Assumption]:
        """What the tokens rest on, by class; steps: of pages that there are, to name their classes alone."""
        from modelmeter.models.common.assumption import Assumption

        return [
            Assumption(
                figure="output_tokens",
                label=f"page class {name}",
                text=f"{tokens.median:,} tokens at the median, {tokens.p90:,} at the 90th percentile; "
                + "; ".join(tokens.assumptions),
            )
            for name, tokens in self.classes.items()
            if steps is None or tokens.median in steps
        ]


@dataclass(frozen=True)
class RunawayShare:
    """Share of pages that repeat until a limit stops them. published: where it is from, None where the user says it."""

    share: float
    published: Runaway | None = None

    def __str__(self) -> str:
        """As it is given to an option."""
        return f"{self.share:g}" if self.published is None else self.published.name

    def assumptions(self) -> list[Assumption]:
        """Where it is from."""
        from modelmeter.models.common.assumption import Assumption

        if self.published is None:
            return []
        text = f"{self.published.what}; {self.published.source}"
        return [Assumption(figure="runaway_share", label=f"runaway share {self.published.name}", text=text)]


def runaway_option(function: Function) -> Function:
    """--runaway-share, a number or the name of a published one: `runaway_share`, a `RunawayShare`."""
    return click.option(
        "--runaway-share",
        type=str,
        callback=_runaway_share,
        default="0",
        show_default=True,
        metavar="SHARE|NAME",
        help="Share of pages that repeat until the model's positions are used up, in times and money alone; or the "
        "name of one that was published, as in old_prints (an unknown name lists them).",
    )(function)


def _runaway_share(_: click.Context, __: click.Parameter, value: str) -> RunawayShare:
    from modelmeter.output_tokens import runaways

    try:
        share = float(value)
    except ValueError:
        published = runaways()
        if value in published:
            return RunawayShare(published[value].share, published[value])
        raise click.BadParameter(
            f"{value} is neither a number nor a share that was published; {near(value, published)}"
        ) from None
    if not 0 <= share < 1:
        raise click.BadParameter(f"{value} is no share; give a number from 0 to below 1, or a published one's name.")
    return RunawayShare(share)


def _complete_class(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from modelmeter.output_tokens import page_classes

    return [CompletionItem(name) for name in page_classes() if name.startswith(incomplete)]


def page_class_options(function: Function) -> Function:
    """--page-class and what goes with it: `page_class`, `language`, `text_format`, `tokenizers`."""
    for option in (
        click.option(
            "--tokenizers",
            metavar="FOLDER",
            default=None,
            help="Measure tokens a character with tokenizers of your own: FOLDER/CHECKPOINT/tokenizer.json, or "
            "FOLDER/tokenizer.json for all models.",
        ),
        click.option(
            "--text-format",
            metavar="NAME",
            default=None,
            help="What the text is written as: plain, markdown, html, otsl, grounding, json or layout_html.  "
            "[default: markdown]",
        ),
        click.option(
            "--language", metavar="NAME", default=None, help="Of the text, as in german.  [default: of the sample]"
        ),
        click.option(
            "--page-class",
            metavar="CLASS|COLUMN",
            default=None,
            shell_complete=_complete_class,
            help="Estimate output tokens by the class of the pages, in place of --output-tokens: letter, dense_a4, "
            "paper, slide, newspaper, receipt, form, invoice, table, handwritten, handwritten_register; or the tables' "
            "column that names each page's.",
        ),
    ):
        function = option(function)
    return function


#: what `page_class_options` give, in their order
Options = tuple[str | None, str | None, str | None, str | None]


def parse_text(who: str, options: Options, output_tokens: object, pages: Sequence[str]) -> PageText | None:
    """What the options of `page_class_options` say of texts; None where no class was given.

    output_tokens: what --output-tokens says, which excludes them. pages: inputs that are no tables. Raises
    `ModelMeterError` for what does not go together.
    """
    from modelmeter.output_tokens import DEFAULT_FORMAT, page_classes

    page_class, language, text_format, tokenizers = options
    if page_class is None:
        given = {"--language": language, "--text-format": text_format, "--tokenizers": tokenizers}
        for name, value in given.items():
            if value is not None:
                raise ModelMeterError(
                    f"{who}: {name} {value} is of pages whose class is said; add --page-class letter, or leave it out."
                )
        return None
    if output_tokens:
        raise ModelMeterError(
            f"{who}: --page-class {page_class} and --output-tokens both say how long texts are; give one of the two."
        )
    if page_class not in page_classes() and pages:
        raise ModelMeterError(
            f"{who}: --page-class {page_class} is no class, and {pages[0]} is no table with such a column; "
            f"{near(page_class, page_classes())}"
        )
    if tokenizers is not None and not Path(tokenizers).is_dir():
        raise ModelMeterError(
            f"{who}: --tokenizers {tokenizers} is no folder; give one with a tokenizer.json, or with folders."
        )
    return PageText(
        said=page_class, language=language, text_format=text_format or DEFAULT_FORMAT, tokenizers=tokenizers
    )


def parse_page_class(
    who: str,
    options: Options,
    output_tokens: object,
    pages: Sequence[str],
    package: ModelPackage,
    overrides: Sequence[str],
) -> TokensOfModel | None:
    """The same as one model writes them; raises `NoRateError` where nobody counted its tokens."""
    from modelmeter.output_tokens import NoRateError

    text = parse_text(who, options, output_tokens, pages)
    if text is None:
        return None
    tokens = TokensOfModel(text, package, *checkpoint_of(package, overrides))
    try:
        _ = tokens.classes
    except NoRateError as error:
        raise NoRateError(f"{who}: {tokens.folder or tokens.checkpoint or tokens.model}: {error}") from error
    return tokens
