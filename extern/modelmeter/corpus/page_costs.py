"""`page_costs`: a record batch of page sizes in, the same batch with each page's layout and figures out.

This one function runs under every engine: the local loop, Ray Data, Spark's mapInArrow, Dask. It holds nothing
between calls, and a page that cannot be counted gets a text in the column `error` and nulls in the others.

    >>> import pyarrow as pa
    >>> from modelmeter.models.common.stage_cost import STAGES
    >>> from modelmeter.models import model_package
    >>> model = model_package().load_cost_model()
    >>> sizes = pa.RecordBatch.from_pydict({"width": [1275, 0], "height": [1650, 5]})
    >>> page_costs(sizes, model).select(["views", "image_tokens", "error"]).to_pylist()[0]
    {'views': 7, 'image_tokens': 903, 'error': None}

FLOPs and traffic are decimal128(38, 0): a sum over any corpus stays exact in engines that would wrap 64-bit integers
around. The others are int64, held against its limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelmeter.errors import ModelMeterError, near
from modelmeter.models.common.contract import CorpusModel, Layout
from modelmeter.models.common.stage_cost import STAGES
from modelmeter.page_sizes import MAX_SIDE, check_dpi
from modelmeter.pdf_pages import DEFAULT_DPI, pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from modelmeter.models.common.contract import PageCost

UNITS: Final = ("pixels", "points")

#: pages that one row may stand for: a whole batch of such rows still adds up in 64 bits
MAX_COUNT: Final = 10**12

ERROR: Final = "error"

#: pages that a row stands for, where a column says that
PAGE_COUNT: Final = "page_count"

#: different pages whose values are remembered from batch to batch
_ROWS_KEPT: Final = 1 << 16

_EXACT: Final = pa.decimal128(38, 0)
_INT64_MAX: Final = 2**63 - 1
_NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"

_COMMA: Final = re.compile(r"[+-]?[0-9.]+(?:,[0-9]+)+")

AnyBatch = TypeVar("AnyBatch", pa.RecordBatch, pa.Table)
Model = TypeVar("Model", bound=CorpusModel)


@dataclass(frozen=True, kw_only=True)
class SizeColumns:
    """Where a batch holds its sizes.

    width, height: names of the columns, of numbers or of their texts. unit: pixels, whole ones, or points (1/72 inch),
    which are turned into pixels at `dpi`. output_tokens: decode steps of every page, or the column that holds them.
    class_steps: where that column holds classes of pages, the decode steps of each, by its name. count: the column that
    holds how many pages each row stands for; None: one.
    """

    width: str = "width"
    height: str = "height"
    unit: str = "pixels"
    dpi: int = DEFAULT_DPI
    output_tokens: int | str = 0
    class_steps: tuple[tuple[str, int], ...] = ()
    count: str | None = None

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ModelMeterError(f"corpus: unit={self.unit} is unknown; {near(self.unit, UNITS)}")
        check_dpi("corpus", self.dpi)
        tokens = self.output_tokens
        if isinstance(tokens, bool) or (isinstance(tokens, int) and tokens < 0):
            raise ModelMeterError(
                f"corpus: output_tokens={tokens!r} is neither a number of 0 or more nor a column's name."
            )


def page_costs(
    batch: pa.RecordBatch, model: CorpusModel, columns: SizeColumns | None = None, *, figures: bool = True
) -> pa.RecordBatch:
    """Each page's layout and, with `figures`, its cost: the columns of `cost_schema`, after those that came.

    The figures are those of one page. With `columns.count` there is `page_count` too, the pages of each row.

    A column `error` that came with the batch marks pages that failed earlier; it is taken over. Raises
    `ModelMeterError` for what is wrong with more than a page: a column that is not there or holds no numbers, and a
    fraction of a pixel, since the other sizes may be no pixels either.
    """
    return _page_costs(batch, model, partial(_page_row, model, figures), columns or SizeColumns(), figures)


#: a page's values in the order of the names that its schema adds, or why there are none
_PageRow = tuple[int, ...] | str


def _page_row(model: CorpusModel, figures: bool, layout: Layout, output_tokens: int) -> _PageRow:
    try:
        cost = model.layout_cost(layout, output_tokens)
    except ModelMeterError as error:
        return str(error)
    return (*layout, output_tokens, *(_figures(cost) if figures else ()))


def _page_costs(
    batch: pa.RecordBatch,
    model: CorpusModel,
    page_row: Callable[[Layout, int], _PageRow],
    columns: SizeColumns,
    figures: bool,
) -> pa.RecordBatch:
    if model.batch_size != 1:
        raise ModelMeterError(
            f"corpus: runtime.batch_size={model.batch_size}, and a corpus is counted page by page; leave it at 1."
        )
    model.request.check_one_page("corpus")
    layout_columns = model.workload.layout_columns
    full = cost_schema(layout_columns)
    added = full if figures else layout_schema(layout_columns)
    if columns.count is not None:
        added = added.insert(0, pa.field(PAGE_COUNT, pa.int64()))
    taken = sorted(set(batch.schema.names) & ({*full.names, *added.names} - {ERROR}))
    if taken:
        raise ModelMeterError(
            f"corpus: column {taken[0]} is there already, and figures are to be written under that name; rename it."
        )
    widths, heights, steps, counts, errors = read_sizes(batch, columns)
    good = errors.none_yet()
    indices, layouts = model.workload.layouts(widths[good], heights[good])
    asked, which = _distinct(indices, steps[good])

    rows = [page_row(layouts[index], count) for index, count in asked]
    refused = [number for number, row in enumerate(rows) if isinstance(row, str)]
    if refused:
        pages = np.flatnonzero(good)
        reasons = dict(zip(pages.tolist(), which.tolist(), strict=True))
        errors.add(pages[np.isin(which, refused)], lambda page: str(rows[reasons[page]]))

    row_of_page = np.zeros(batch.num_rows, np.int64)
    row_of_page[good] = which
    counted = errors.none_yet()
    take = pa.array(row_of_page, mask=~counted)
    arrays = {
        "width_px": pa.array(widths, mask=~counted),
        "height_px": pa.array(heights, mask=~counted),
        PAGE_COUNT: pa.array(counts),
        ERROR: errors.column(),
    }
    names = [name for name in added.names if name not in arrays]
    for position, name in enumerate(names):
        values = [None if isinstance(row, str) else row[position] for row in rows]
        arrays[name] = _exact_array(name, values, added.field(name).type).take(take)
    kept = [name for name in batch.schema.names if name != ERROR]
    schema = pa.schema([batch.schema.field(name) for name in kept] + list(added))
    return pa.RecordBatch.from_arrays(
        [batch.column(name) for name in kept] + [arrays[name] for name in added.names], schema=schema
    )


class Sizes(NamedTuple):
    """What a batch says of its pages, without a model: sides in pixels, decode steps, pages of each row, what is bad.

    Where `errors` has a reason the numbers mean nothing.
    """

    widths: NDArray[np.int64]
    heights: NDArray[np.int64]
    steps: NDArray[np.int64]
    counts: NDArray[np.int64]
    errors: Errors


def read_sizes(batch: pa.RecordBatch, columns: SizeColumns) -> Sizes:
    """The sizes of a batch; raises `ModelMeterError` for what is wrong with more than a page."""
    errors = Errors(batch)
    widths = _sides(batch, columns.width, columns, errors)
    heights = _sides(batch, columns.height, columns, errors)
    steps = _steps(batch, columns, errors)
    return Sizes(widths, heights, steps, _counts(batch, columns.count, errors), errors)


class ModelLoader(Generic[Model]):
    """What makes a model, as `functools.partial(load_cost_model, ["workload=base"])`: called once in each process.

    It can be pickled if `load_model` can; the model itself stays behind.
    """

    def __init__(self, load_model: Callable[[], Model]) -> None:
        self._load_model = load_model
        self._model: Model | None = None

    def __call__(self) -> Model:
        """This process's model."""
        if self._model is None:
            self._model = self._load_model()
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_model": None}


class PageCosts:
    """`page_costs` as an object that can be sent to other processes: it takes along how to load the model.

    Called with a record batch it returns one, with a table (Ray Data's `map_batches(..., batch_format="pyarrow")`) a
    table; `stream` takes an iterator (Spark's `mapInArrow`).
    """

    def __init__(
        self, load_model: Callable[[], CorpusModel], columns: SizeColumns | None = None, *, figures: bool = True
    ) -> None:
        self.load_model = load_model if isinstance(load_model, ModelLoader) else ModelLoader(load_model)
        self.columns = columns or SizeColumns()
        self.figures = figures
        self._page_row = _remembering(self.load_model, figures)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_page_row"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._page_row = _remembering(self.load_model, self.figures)

    def __call__(self, batch: AnyBatch) -> AnyBatch:
        """The costs of a record batch, or of a table batch by batch."""
        if isinstance(batch, pa.Table):
            parts = [self._costs(part) for part in batch.to_batches()]
            empty = self._costs(pa.RecordBatch.from_pylist([], schema=batch.schema))
            return pa.Table.from_batches(parts, schema=empty.schema)
        return self._costs(batch)

    def stream(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batch by batch."""
        return map(self._costs, batches)

    def schema(self, sizes: pa.Schema) -> pa.Schema:
        """The schema of what is made of batches with the schema `sizes`."""
        return self._costs(pa.RecordBatch.from_pylist([], schema=sizes)).schema

    def _costs(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return _page_costs(batch, self.load_model(), self._page_row, self.columns, self.figures)


def _remembering(load_model: Callable[[], CorpusModel], figures: bool) -> Callable[[Layout, int], _PageRow]:
    """`_page_row` with a memory for batches to come."""

    @lru_cache(_ROWS_KEPT)
    def page_row(layout: Layout, output_tokens: int) -> _PageRow:
        return _page_row(load_model(), figures, layout, output_tokens)

    return page_row


# -- the figures of a page -------------------------------------------------------------------------------------------

_STAGE_FIGURES: Final = (
    ("tensor_core_flops", _EXACT),
    ("cuda_core_flops", _EXACT),
    ("io_bytes", _EXACT),
    ("activation_peak_bytes", pa.int64()),
)


def layout_schema(layout_columns: Sequence[str], figures: Sequence[tuple[str, pa.DataType]] = ()) -> pa.Schema:
    """Columns of a page that was counted: its pixels, its layout's numbers, what is asked of it; figures; its error."""
    numbers = ("width_px", "height_px", *layout_columns, "decode_steps")
    return pa.schema([*((name, pa.int64()) for name in numbers), *figures, (ERROR, pa.string())])


def cost_schema(layout_columns: Sequence[str]) -> pa.Schema:
    """What `page_costs` adds. Prefill includes vision; kv_bytes is the cache held at the end."""
    stages = ((f"{stage}_{name}", type_) for stage in STAGES for name, type_ in _STAGE_FIGURES)
    return layout_schema(layout_columns, [("image_tokens", pa.int64()), *stages, ("kv_bytes", pa.int64())])


def _figures(cost: PageCost) -> tuple[int, ...]:
    """In the order of `cost_schema`."""
    stages = (getattr(cost, stage) for stage in STAGES)
    figures = (getattr(stage, name) for stage in stages for name, _ in _STAGE_FIGURES)
    return (cost.tokens.total, *figures, cost.total.kv_bytes)


def _exact_array(name: str, values: list[int | None], type_: pa.DataType) -> pa.Array:
    """Integers as int64 or decimal128, refused where they do not fit."""
    limit = _INT64_MAX if type_ == pa.int64() else 10**38 - 1
    for value in values:
        if value is not None and not -limit <= value <= limit:
            raise ModelMeterError(f"corpus: {name}={value} does not fit into {type_}; ask for the totals without rows.")
    if type_ == pa.int64():
        return pa.array(values, type_)
    return pa.array([None if value is None else Decimal(value) for value in values], type_)


def _distinct(indices: NDArray[np.int64], steps: NDArray[np.int64]) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """The distinct pairs (layout's index, decode steps), and for each page the position of its pair."""
    if not indices.size:
        return [], indices
    spread = int(steps.max()) + 1
    keys, which = np.unique(indices * spread + steps, return_inverse=True)
    return [divmod(int(key), spread) for key in keys], which


# -- columns of sizes ------------------------------------------------------------------------------------------------


class Errors:
    """Why pages of a batch cannot be counted: the first reason of each."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.size = batch.num_rows
        self.texts: dict[int, str] = {}
        if ERROR in batch.schema.names:
            column = batch.column(ERROR)
            for row in np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)):
                self.texts[int(row)] = str(column[int(row)].as_py())

    def add(self, rows: NDArray[np.int64], reason: Callable[[int], str]) -> None:
        """Note `reason(row)` for each of `rows` that has no reason yet."""
        for row in map(int, rows):
            if row not in self.texts:
                self.texts[row] = reason(row)

    def none_yet(self) -> NDArray[np.bool_]:
        """The pages without a reason."""
        good = np.ones(self.size, np.bool_)
        good[list(self.texts)] = False
        return good

    def column(self) -> pa.Array:
        """The reasons, null for a page that was counted."""
        if not self.texts:
            return pa.nulls(self.size, pa.string())
        return pa.array([self.texts.get(row) for row in range(self.size)], pa.string())


def column_named(names: Iterable[str], name: str, who: str = "corpus") -> str:
    """Which of `names` is `name`, capitals and spaces around it aside; else the error that names the near ones."""
    known = list(map(str, names))
    if name in known:
        return name
    alike = [each for each in known if each.strip().casefold() == name.strip().casefold()]
    if len(set(alike)) == 1:
        return alike[0]
    options = [each[:60] for each in known[:30]]
    if alike:
        raise ModelMeterError(
            f"{who}: several columns may be {name}: {', '.join(alike[:5])}; name one as it is written."
        )
    raise ModelMeterError(f"{who}: there is no column {name}; {near(name, options)}")


def _sides(batch: pa.RecordBatch, name: str, columns: SizeColumns, errors: Errors) -> NDArray[np.int64]:
    """One side of every page in whole pixels; 1 where it is none, with the reason in `errors`."""
    values = _numbers(batch, name)
    wrong = ~((values > 0) & (values <= MAX_SIDE))
    if columns.unit == "points":
        distinct, which = np.unique(np.where(wrong, 1.0, values), return_inverse=True)
        sides = np.array([pixels(each, columns.dpi) for each in distinct.tolist()], np.int64)[which]
        wrong |= sides > MAX_SIDE
    else:
        sides = np.where(wrong, 1.0, values).astype(np.int64)
        broken = np.flatnonzero(~wrong & (sides != values))
        if broken.size:
            came = _short(batch.column(name)[int(broken[0])].as_py())
            raise ModelMeterError(
                f"corpus: {name} {came} is a fraction of a pixel; if these sizes are points, say --unit points "
                "(in Python unit='points'), else round them."
            )
    sides[wrong] = 1

    def reason(row: int) -> str:
        value, came = values[row], batch.column(name)[row].as_py()
        if came is None:
            return f"{name} is missing"
        if np.isnan(value):
            return f"{name} {_short(came)} {_no_number(came)}"
        if value <= 0:
            return f"{name} {_short(came)} is not positive"
        return f"{name} {_short(came)} is more than {MAX_SIDE} pixels"

    errors.add(np.flatnonzero(wrong), reason)
    return sides


def _steps(batch: pa.RecordBatch, columns: SizeColumns, errors: Errors) -> NDArray[np.int64]:
    """Decode steps of every page; 0 where they are no number of steps, with the reason in `errors`."""
    output_tokens = columns.output_tokens
    if isinstance(output_tokens, int):
        return np.full(batch.num_rows, output_tokens, np.int64)
    if columns.class_steps:
        return _steps_of_classes(batch, output_tokens, dict(columns.class_steps), errors)
    return _whole_numbers(batch, output_tokens, MAX_SIDE, "is no number of output tokens", errors, 0)


def _steps_of_classes(batch: pa.RecordBatch, name: str, steps: Mapping[str, int], errors: Errors) -> NDArray[np.int64]:
    """Decode steps of every page by the class that a column names."""
    named = batch.column(column_named(batch.schema.names, name)).to_pylist()
    found = [steps.get(str(each).strip(), -1) for each in named]
    numbers = np.array(found, np.int64)
    wrong = numbers < 0

    def reason(row: int) -> str:
        came = named[row]
        if came is None or not str(came).strip():
            return "page class is missing"
        return f"page class {_short(came)} is none whose tokens are known; {near(str(came), steps)}"

    errors.add(np.flatnonzero(wrong), reason)
    numbers[wrong] = 0
    return numbers


def _counts(batch: pa.RecordBatch, count: str | None, errors: Errors) -> NDArray[np.int64]:
    """Pages that every row stands for; 1 where they are no number of pages, with the reason in `errors`."""
    if count is None:
        return np.ones(batch.num_rows, np.int64)
    return _whole_numbers(batch, count, MAX_COUNT, f"is no number of pages from 0 to {MAX_COUNT:,}", errors, 1)


def _whole_numbers(
    batch: pa.RecordBatch, name: str, most: int, words: str, errors: Errors, instead: int
) -> NDArray[np.int64]:
    """A column of whole numbers from 0 to `most`; `instead` where it holds none, with the reason in `errors`."""
    values = _numbers(batch, name)
    wrong = ~((values >= 0) & (values <= most))
    numbers = np.where(wrong, 0.0, values).astype(np.int64)
    wrong |= numbers != values

    def reason(row: int) -> str:
        came = batch.column(name)[row].as_py()
        return f"{name} is missing" if came is None else f"{name} {_short(came)} {words}"

    errors.add(np.flatnonzero(wrong), reason)
    numbers[wrong] = instead
    return numbers


def _no_number(came: object) -> str:
    """What is wrong with a cell that holds no number."""
    if _COMMA.fullmatch(str(came).strip()):
        return "has a comma; write 595.28 with a point, and thousands without a separator"
    return "is no number"


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    """A column as floats, which hold every allowed integer exactly; NaN where there is no number."""
    column = batch.column(column_named(batch.schema.names, name))
    if not holds_numbers(column.type):
        raise ModelMeterError(f"corpus: column {name} holds {column.type}; name one that holds numbers.")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(column.type):
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        column = pc.if_else(pc.match_substring_regex(text, _NUMBER), text, pa.scalar(None, pa.string()))
    floats = column.cast(pa.float64(), safe=False).fill_null(np.nan)
    return np.asarray(floats.to_numpy(zero_copy_only=False), np.float64)


def holds_numbers(type_: pa.DataType) -> bool:
    """Whether a column of this type can hold numbers, or their texts."""
    if pa.types.is_dictionary(type_):
        return holds_numbers(type_.value_type)
    numeric = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    return numeric or _is_text(type_) or pa.types.is_null(type_)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
