"""Pages and corpora of a command line as kinds of pages with their output tokens, for `throughput` and its like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from modelmeter.cli.arguments import STDIN, Input, check_table_options, is_corpus, read_inputs
from modelmeter.cli.output_tokens import OutputTokens, Said, parse_output_tokens
from modelmeter.cli.page_class import Options, TokensOfModel, parse_page_class
from modelmeter.errors import ModelMeterError
from modelmeter.process import tell

if TYPE_CHECKING:
    from modelmeter.corpus import CorpusCost
    from modelmeter.devices import PageKind
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import CostModel, ModelPackage, PageCost

#: groups and layouts of a corpus, each in every combination: as many take half a minute on all devices, a second on one
MAX_KINDS: Final = 20_000

#: a corpus by its name, and what it counts
Counted = tuple[str, "CorpusCost"]


@dataclass(frozen=True, kw_only=True)
class AskedPages:
    """What a command was given to count. files: all inputs, in their order; inputs: those that are no corpus.

    columns: what the tables' columns mean; by: the column that groups them.
    """

    who: str
    files: Sequence[str]
    inputs: Sequence[Input]
    said: Said
    classes: TokensOfModel | None
    by: str | None
    columns: Mapping[str, Any]
    max_pixels: int

    def read(self, cost_model: CostModel) -> tuple[list[PageKind[PageCost]], list[Counted]]:
        """(the kinds of pages, the corpora among the inputs)."""
        kinds: list[PageKind[PageCost]] = []
        counted: list[Counted] = []
        pages = iter(self.inputs)
        for index, name in enumerate(self.files):
            if not is_corpus(name):
                said = self.said.of_page(index, name)
                if self.classes is not None:
                    said = _times(cost_model.request.pages, said)
                kinds += _kinds(cost_model, next(pages), said)
                continue
            column = self.said.of_inputs[index]
            columns = {**self.columns, "output_tokens": column if isinstance(column, str) else 0}
            columns["class_steps"] = () if self.classes is None else self.classes.class_steps
            cost = _count(self.who, cost_model, name, self.by, self.max_pixels, columns)
            counted.append((name, cost))
            kinds += _corpus_kinds(self.who, cost_model, name, cost, self.said, index, self.classes)
        self.said.check_groups([group for _, cost in counted for group in cost.groups if group is not None])
        return kinds, counted

    def assumptions(self, counted: Sequence[Counted]) -> list[Assumption]:
        """What the output tokens rest on, of the classes that there are."""
        if self.classes is None:
            return []
        if self.classes.text.column is None:
            return self.classes.assumptions()
        return self.classes.assumptions({cell.decode_steps for _, cost in counted for cell in cost.cells})


def asked_pages(
    who: str,
    files: Sequence[str],
    output_tokens: Sequence[str],
    texts: Options,
    model: tuple[ModelPackage, Sequence[str]],
    table: Mapping[str, str | None],
    *,
    dpi: int,
    max_pixels: int,
) -> AskedPages:
    """What was asked for. model: its package and overrides. table: what the options of tables say, `by` among them.

    Raises `ModelMeterError` for what does not go together, before anything is counted.
    """
    corpora = [name for name in files if is_corpus(name)]
    if corpora.count(STDIN) > 1:
        raise ModelMeterError(f"{who}: standard input (-) is given twice, and can be read once.")
    check_table_options(who, corpora, **table)
    others = [name for name in files if name not in corpora]
    inputs = read_inputs(others, dpi, max_pixels, prompts=True) if others or not corpora else []
    for each in inputs:
        if each.prompt_tokens is not None and texts[0] is not None:
            raise ModelMeterError(
                f"{who}: {each.name} is no page, and --page-class {texts[0]} says how much text pages have; give "
                "--output-tokens for each input."
            )
    classes = parse_page_class(who, texts, output_tokens, others, *model)
    if classes is None:
        said = parse_output_tokens(who, output_tokens, len(files), table["by"])
    else:
        steps = classes.steps
        of_all = steps if isinstance(steps, str) else classes.spread_of({steps: 1})
        said = Said(who=who, of_inputs=[of_all] * len(files), of_groups={})
    return AskedPages(
        who=who,
        files=files,
        inputs=inputs,
        said=said,
        classes=classes,
        by=table["by"],
        columns={name: value for name, value in table.items() if name != "by"} | {"dpi": dpi},
        max_pixels=max_pixels,
    )


def _count(
    who: str, cost_model: CostModel, source: str, by: str | None, max_pixels: int, columns: Mapping[str, Any]
) -> CorpusCost:
    """The pages of a folder or a table."""
    try:
        from modelmeter.corpus import CorpusOptions, SizeColumns, run_corpus
    except ImportError as error:
        raise ModelMeterError(f"{who}: a corpus needs pyarrow ({error}); pip install pyarrow.") from error
    options = CorpusOptions(columns=SizeColumns(**columns), group=by, max_pixels=max_pixels)
    return run_corpus([source], lambda: cost_model, options)


def _corpus_kinds(
    who: str,
    cost_model: CostModel,
    source: str,
    cost: CorpusCost,
    said: Said,
    index: int,
    classes: TokensOfModel | None,
) -> list[PageKind[PageCost]]:
    """The pages of a folder or a table, those of one group and layout as one kind."""
    from modelmeter.corpus import page_kinds

    pairs = len({(cell.group, cell.layout) for cell in cost.cells})
    if pairs > MAX_KINDS:
        raise ModelMeterError(
            f"{who}: {source} has {pairs:,} different groups and layouts, and {MAX_KINDS:,} at most are computed; "
            "group by a column with fewer values, leave --by out, or give the pages in several tables."
        )
    given = said.of_inputs[index]
    kinds = page_kinds(
        cost,
        cost_model,
        None if isinstance(given, str) else given,
        by_group=said.of_corpus_groups(index, list(cost.groups)),
        label=source,
    )
    if classes is None or not isinstance(given, str):
        return kinds
    return [
        replace(kind, output_tokens=classes.spread_of(kind.output_tokens))
        for kind in kinds
        if isinstance(kind.output_tokens, Mapping)
    ]


def tell_left_out(counted: Sequence[tuple[str, CorpusCost]]) -> None:
    """The pages that were left out, files that were not read, and hints, on standard error."""
    if counted:
        from modelmeter.report.corpus_tables import hint_lines, left_out_lines, not_read

        for name, cost in counted:
            told = (f"{name}: {line}" for line in not_read(cost.notes))
            for line in (*left_out_lines(cost), *told, *hint_lines(cost.notes)):
                tell(line)


def _kinds(cost_model: CostModel, given: Input, said: OutputTokens) -> list[PageKind[PageCost]]:
    """The pages of one input, those of one size as one kind."""
    from modelmeter.devices import PageKind

    if given.prompt_tokens is not None:
        cost_model.request.check_one_page(f"prompt {given.name}")
        return [PageKind(page=_text(cost_model, given), output_tokens=said, label=given.name)]
    sizes = Counter((page.width, page.height) for page in given.pages)
    kinds = []
    for (width, height), count in sizes.items():
        label = given.name if len(sizes) == 1 else f"{given.name}, {width}x{height}"
        try:
            page = cost_model.page(width, height)
        except ModelMeterError as error:
            raise ModelMeterError(f"page {label}: {error}") from error
        kinds.append(PageKind(page=page, output_tokens=said, count=count, label=label))
    return kinds


def _text(cost_model: CostModel, given: Input) -> PageCost:
    """A prompt without an image, among pages: what has no layout."""
    try:
        return cast("PageCost", cost_model.text(given.prompt_tokens or 0))
    except ModelMeterError as error:
        raise ModelMeterError(f"prompt {given.name}: {error}") from error


def _times(pages: int, said: OutputTokens) -> OutputTokens:
    """What so many pages say together that each say this."""
    if isinstance(said, int):
        return pages * said
    return {pages * tokens: share for tokens, share in said.items()}
