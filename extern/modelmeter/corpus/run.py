"""`run_corpus`: from sources of pages to the cost of them all, in bounded memory, on one machine or on Ray."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from modelmeter.corpus.checkpoint import Checkpoint, Progress
from modelmeter.corpus.page_costs import PAGE_COUNT, ModelLoader, PageCosts, SizeColumns, cost_schema
from modelmeter.corpus.sources import BATCH_PAGES, STDIN, Item, Notes, ReadOptions, input_files, list_items, read_item
from modelmeter.corpus.tally import Tally, summarise
from modelmeter.corpus.totals import CorpusCost, corpus_cost
from modelmeter.errors import ModelMeterError, near
from modelmeter.files import check_output, is_within, replacing, writing
from modelmeter.models.common.contract import CorpusModel
from modelmeter.page_sizes import MAX_PIXELS

ENGINES: Final = ("local", "ray")

#: tasks that a corpus is cut into at most on Ray
_RAY_BLOCKS: Final = 10_000

#: columns of a row beside the page's layout and cost
_OF_A_ROW: Final = (
    ("source", pa.string()),
    ("page_number", pa.int64()),
    ("group", pa.string()),
    (PAGE_COUNT, pa.int64()),
)


def row_schema(layout_columns: Sequence[str]) -> pa.Schema:
    """A row of the file of rows; `group` is null unless pages are grouped, `page_count` 1 unless a column says it."""
    return pa.schema([*_OF_A_ROW, *cost_schema(layout_columns)])


#: pages at a time at most: their counts add up in 64 bits
MAX_BATCH_PAGES: Final = 1 << 22


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """What is asked of a corpus.

    columns: names and units of a table's sizes; the dpi is for PDFs too. group: the column to group by, or "folder".
    max_pixels: images with more are reported, not read. strict: the first page left out is
    an error. rows: Parquet file for a row a page. resume: folder that remembers how far a run came. engine: local or
    ray. batch_pages: pages at a time. checkpoint_seconds: between two saves into `resume`.
    """

    columns: SizeColumns = field(default_factory=SizeColumns)
    group: str | None = None
    max_pixels: int = MAX_PIXELS
    strict: bool = False
    rows: Path | None = None
    resume: Path | None = None
    engine: str = "local"
    batch_pages: int = BATCH_PAGES
    checkpoint_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ModelMeterError(f"corpus: engine={self.engine} is unknown; {near(self.engine, ENGINES)}")
        if self.engine != "local" and self.resume is not None:
            raise ModelMeterError(f"corpus: engine={self.engine} cannot resume (Ray retries its own tasks); drop one.")
        for name, value in (("max_pixels", self.max_pixels), ("batch_pages", self.batch_pages)):
            if value < 1:
                raise ModelMeterError(f"corpus: {name}={value} is not positive; give 1 or more.")
        if self.batch_pages > MAX_BATCH_PAGES:
            raise ModelMeterError(f"corpus: batch_pages={self.batch_pages} is more than {MAX_BATCH_PAGES}; give fewer.")


class Reader:
    """Reads items as the options say, without a model. notes: what is seen and not taken."""

    def __init__(self, options: CorpusOptions) -> None:
        columns = options.columns
        tokens = columns.output_tokens
        self.options = ReadOptions(
            width=columns.width,
            height=columns.height,
            output_tokens=tokens if isinstance(tokens, str) else None,
            group=options.group,
            count=columns.count,
            dpi=columns.dpi,
            max_pixels=options.max_pixels,
            batch_pages=options.batch_pages,
        )
        own = "output_tokens" if isinstance(tokens, str) else tokens
        count = None if columns.count is None else "count"
        # sizes of images and PDFs are in pixels, whatever the unit of the tables is
        self.of_files = SizeColumns(output_tokens=own, class_steps=columns.class_steps, count=count)
        self.of_tables = replace(self.of_files, unit=columns.unit, dpi=columns.dpi)
        self.notes = Notes()

    def columns(self, item: Item) -> SizeColumns:
        """Where the batches of an item hold their sizes."""
        return self.of_files if item.kind in ("images", "pdf") else self.of_tables

    def batches(self, item: Item, skip: int = 0) -> Iterator[pa.RecordBatch]:
        """The pages of an item, without its first `skip` batches."""
        return islice(read_item(item, self.options, self.notes), skip, None)


class CorpusTask:
    """From an item to the costs of its pages; it can be sent to other processes, where a copy keeps its own notes."""

    def __init__(self, load_model: Callable[[], CorpusModel], options: CorpusOptions) -> None:
        self.reader = Reader(options)
        self.load_model = load_model if isinstance(load_model, ModelLoader) else ModelLoader(load_model)
        self.costs = {
            columns: PageCosts(self.load_model, columns, figures=options.rows is not None)
            for columns in (self.reader.of_tables, self.reader.of_files)
        }

    @property
    def notes(self) -> Notes:
        """What is seen and not taken."""
        return self.reader.notes

    @property
    def layout_columns(self) -> Sequence[str]:
        """What the model calls the numbers of a layout."""
        return self.load_model().workload.layout_columns  # type: ignore[no-any-return]

    def summary(self, costs: pa.RecordBatch) -> pa.Table:
        """What a tally needs of some pages."""
        return summarise(costs, self.layout_columns)

    def rows(self, costs: pa.RecordBatch) -> pa.RecordBatch:
        """Some pages in the order of `row_schema`."""
        schema = row_schema(self.layout_columns)
        columns = {name: costs.column(name) for name in costs.schema.names}
        columns.setdefault("group", pa.nulls(costs.num_rows, pa.string()))
        columns.setdefault(PAGE_COUNT, pa.repeat(pa.scalar(1, pa.int64()), costs.num_rows))
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def __call__(self, item: Item, skip: int = 0) -> Iterator[pa.RecordBatch]:
        """The costs of an item's pages, without its first `skip` batches."""
        costs = self.costs[self.reader.columns(item)]
        raw = ("width", "height", "output_tokens", "count")
        for batch in self.reader.batches(item, skip):
            counted = costs(batch)
            yield counted.select([name for name in counted.schema.names if name not in raw])


#: what a tally takes in of some pages, and their rows if they are asked for
Result = tuple[pa.Table, pa.RecordBatch | None]


def run_corpus(
    sources: Sequence[str],
    load_model: Callable[[], CorpusModel],
    options: CorpusOptions | None = None,
    progress: Callable[[Tally], None] = lambda _: None,
) -> CorpusCost:
    """The cost of the pages of `sources` by the model that `load_model` makes.

    sources: image files, PDFs, folders of both, tables (.csv, .tsv, .jsonl, .parquet), globs, or "-".
    progress: called now and then with the tally so far. Raises `ModelMeterError`; then no file of rows is left.
    """
    options = options or CorpusOptions()
    task = CorpusTask(load_model, options)
    _check_outputs(options, sources)
    items = list_items(sources, task.notes)
    if options.resume is not None:
        return _run_with_checkpoint(sources, items, task, options, progress)
    results = _on_ray(items, task, options) if options.engine == "ray" else _local(items, task)
    tally = Tally()
    with _row_file(task, options.rows) as write:
        for summary, rows in results:
            _take_in(tally, summary, options)
            write(rows)
            progress(tally)
        return corpus_cost(tally, task.load_model(), task.notes)


def _check_outputs(options: CorpusOptions, sources: Sequence[str]) -> None:
    """Refuse to write the rows, or what is remembered, over a source."""
    if options.resume is not None:
        for source in sources:
            if source != STDIN and is_within(source, options.resume):
                raise ModelMeterError(
                    f"corpus: what is remembered in {options.resume} could be written over source {source}; "
                    "choose another folder."
                )
    if options.rows is not None:
        tables = not _are_rows(options.rows)
        inputs = chain.from_iterable(input_files(source, tables=tables) for source in sources)
        check_output("corpus", options.rows, inputs, options.resume)


def _are_rows(path: Path) -> bool:
    """Whether a file holds rows that an earlier run wrote, of whichever model: the same command may write it again."""
    try:
        return path.is_file() and set(row_schema(()).names) <= set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False


def _take_in(tally: Tally, summary: pa.Table, options: CorpusOptions) -> None:
    tally.add(summary)
    if options.strict and tally.left_out:
        raise ModelMeterError(f"corpus: {tally.listed[0]} (strict: no page may be left out)")


def _local(items: Iterable[Item], task: CorpusTask) -> Iterator[Result]:
    for item in items:
        for costs in task(item):
            yield task.summary(costs), costs


def _on_ray(items: Iterable[Item], task: CorpusTask, options: CorpusOptions) -> Iterator[Result]:
    """The same task on Ray Data, an item at a time; results come in the order of the items."""
    listed = list(items)
    if any(item.kind == "stdin" for item in listed):
        raise ModelMeterError("corpus: standard input (-) cannot be read on Ray; write it to a file.")
    try:
        import ray
    except ImportError as error:
        raise ModelMeterError("corpus: engine=ray needs Ray; pip install 'ray[data]', or use local.") from error
    with_rows = options.rows is not None

    def run(batch: dict[str, Any]) -> Iterator[pa.Table]:
        for item in batch["item"]:
            for costs in task(pickle.loads(item)):
                yield pa.Table.from_batches([task.rows(costs)]) if with_rows else task.summary(costs)

    context = ray.data.DataContext.get_current()
    before = context.execution_options.preserve_order
    context.execution_options.preserve_order = True
    try:
        pickled = [{"item": pickle.dumps(item)} for item in listed]
        blocks = min(len(pickled), _RAY_BLOCKS)
        dataset = ray.data.from_items(pickled, override_num_blocks=blocks).map_batches(run, batch_size=1)
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            if with_rows:
                for costs in table.to_batches():
                    yield task.summary(costs), costs
            else:
                yield table, None
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ModelMeterError):  # a worker's; Ray has put advice of its own after our line
            raise ModelMeterError(str(error.cause).splitlines()[0]) from error
        raise
    finally:
        context.execution_options.preserve_order = before


def _run_with_checkpoint(
    sources: Sequence[str],
    items: Iterable[Item],
    task: CorpusTask,
    options: CorpusOptions,
    progress: Callable[[Tally], None],
) -> CorpusCost:
    """Item by item from where the checkpoint is; the rows are kept in parts and put together at the end."""
    assert options.resume is not None
    if STDIN in sources:
        raise ModelMeterError("corpus: standard input (-) cannot be resumed; write it to a file.")
    checkpoint = Checkpoint(options.resume, _identity(sources, task, options))
    with checkpoint.locked(), _Parts(task, checkpoint, options.rows is not None) as parts:
        state, fingerprint = checkpoint.load()
        first, skip = state.items, state.batches
        remembered = first + (skip > 0)
        seen = 0
        saved = time.monotonic()
        for item in items:
            checkpoint.passed(item)
            seen += 1
            if seen == remembered:
                checkpoint.check(fingerprint)
            if seen <= first:
                continue
            for costs in task(item, skip):
                _take_in(state.tally, task.summary(costs), options)
                parts.write(state, costs)
                state.batches += 1
                if time.monotonic() - saved >= options.checkpoint_seconds:
                    parts.save(state)
                    saved = time.monotonic()
                progress(state.tally)
            state.items, state.batches, skip = seen, 0, 0
        if seen < remembered:
            checkpoint.check("")
        parts.save(state)
        with _row_file(task, options.rows) as write:
            for number in range(len(state.parts)):
                with pq.ParquetFile(checkpoint.whole_part(number, state)) as part:
                    for batch in part.iter_batches(options.batch_pages):
                        write(batch)
            return corpus_cost(state.tally, task.load_model(), task.notes)


def _identity(sources: Sequence[str], task: CorpusTask, options: CorpusOptions) -> dict[str, Any]:
    """What a run's results depend on, and the size of its batches, by which its place is counted."""
    identity = {"sources": list(sources), "rows": options.rows is not None, "max_pixels": options.max_pixels}
    identity |= {"group": options.group, "batch_pages": options.batch_pages} | asdict(options.columns)
    return identity | dict(_flat(asdict(task.load_model().config)))


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# -- rows ------------------------------------------------------------------------------------------------------------


@contextmanager
def _row_file(task: CorpusTask, path: Path | None) -> Iterator[Callable[[pa.RecordBatch | None], None]]:
    """A function that writes batches into a Parquet file, which is in place only if all went well."""
    if path is None:
        yield lambda _: None
        return
    with replacing(path) as temporary:
        with writing(path):
            writer = pq.ParquetWriter(temporary, row_schema(task.layout_columns))

        def write(batch: pa.RecordBatch | None) -> None:
            assert batch is not None
            with writing(path):
                writer.write_batch(task.rows(batch))

        try:
            yield write
        finally:
            with writing(path):
                writer.close()


class _Parts(ExitStack):
    """The rows of a run with a checkpoint: a part for each save, whole before a state names it."""

    def __init__(self, task: CorpusTask, checkpoint: Checkpoint, wanted: bool) -> None:
        super().__init__()
        self.task = task
        self.checkpoint = checkpoint
        self.wanted = wanted
        self.append: Callable[[pa.RecordBatch | None], None] | None = None

    def write(self, state: Progress, costs: pa.RecordBatch) -> None:
        """Append the rows of some pages to the part after those that the state counts."""
        if not self.wanted:
            return
        if self.append is None:
            self.append = self.enter_context(_row_file(self.task, self.checkpoint.part(len(state.parts))))
        self.append(costs)

    def save(self, state: Progress) -> None:
        """Put the part in place and count it, then the state that names it."""
        if self.append is not None:
            self.close()
            self.append = None
            self.checkpoint.count_part(state)
        self.checkpoint.save(state)
