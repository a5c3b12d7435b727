"""`run_corpus`: from files to totals and rows, with nothing half-written, and on from where a killed run was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelmeter.corpus import CorpusOptions, ModelLoader, SizeColumns, run_corpus
from modelmeter.corpus import run as run_module
from modelmeter.corpus.run import row_schema
from modelmeter.corpus.tally import Tally
from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import CostModel, VisionWorkload, load_cost_model

WriteParquet = Callable[..., str]
Load = ModelLoader[CostModel]
BY_KIND = CorpusOptions(group="kind", columns=SizeColumns(output_tokens="n"))


def table(pages: int) -> dict[str, list[Any]]:
    """Many layouts, three groups, and a page in ten that is none."""
    return {
        "width": [i * 7919 % 3000 if i % 10 else -i for i in range(pages)],
        "height": [1 + i * 104729 % 3000 for i in range(pages)],
        "kind": ["abc"[i % 3] for i in range(pages)],
        "n": [i % 5 for i in range(pages)],
    }


def test_sources_of_all_kinds_add_up(tmp_path: Path, load_model: Load, write_parquet: WriteParquet) -> None:
    (tmp_path / "in").mkdir()
    Image.new("L", (1275, 1650)).save(tmp_path / "in" / "a.png")
    (tmp_path / "a.csv").write_text("width,height\n1275,1650\n600,600\n")
    sources = [str(tmp_path / "in"), str(tmp_path / "a.csv"), write_parquet({"width": [600], "height": [600]})]
    cost = run_corpus(sources, load_model)
    assert {layout: part.totals.pages for layout, part in cost.layouts.items()} == {(7, 2, 3): 2, (1, 1, 1): 2}
    page = load_model().page(1275, 1650).prefill.tensor_core_flops
    small = load_model().page(600, 600).prefill.tensor_core_flops
    assert cost.everything.totals.prefill.tensor_core_flops == 2 * page + 2 * small


def test_points_are_the_tables_unit_only(tmp_path: Path, load_model: Load) -> None:
    Image.new("L", (700, 700)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("width,height\n612.0,792.0\n")
    options = CorpusOptions(columns=SizeColumns(unit="points", dpi=150), rows=tmp_path / "rows.parquet")
    run_corpus([str(tmp_path / "a.png"), str(tmp_path / "a.csv")], load_model, options)
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [(row["width_px"], row["height_px"]) for row in rows] == [(700, 700), (1275, 1650)]


@pytest.mark.parametrize("batch_pages", [1, 7, 100_000])
@pytest.mark.parametrize("row_group_size", [0, 10])
def test_batches_do_not_matter(
    load_model: Load, write_parquet: WriteParquet, batch_pages: int, row_group_size: int
) -> None:
    path = write_parquet(table(100), row_group_size=row_group_size)
    cost = run_corpus([path], load_model, replace(BY_KIND, batch_pages=batch_pages))
    assert cost == run_corpus([path], load_model, BY_KIND)
    assert (cost.everything.totals.pages, cost.left_out) == (90, 10)


def test_rows(tmp_path: Path, load_model: Load, write_parquet: WriteParquet) -> None:
    path = write_parquet(table(40), row_group_size=15)
    options = replace(BY_KIND, rows=tmp_path / "rows.parquet", batch_pages=4)
    cost = run_corpus([path], load_model, options)
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows.schema.equals(row_schema(VisionWorkload.layout_columns))
    assert rows.column("source").unique().to_pylist() == [path]
    assert rows.column("page_number").to_pylist() == list(range(1, 41))
    assert rows.column("group").to_pylist() == table(40)["kind"]
    bad = [row for row in rows.to_pylist() if row["error"]]
    assert len(bad) == cost.left_out == 4
    totals = cost.everything.totals
    for stage in ("vision", "prefill", "decode"):
        for figure in ("tensor_core_flops", "cuda_core_flops", "io_bytes"):
            column = [int(each) for each in rows.column(f"{stage}_{figure}").to_pylist() if each is not None]
            assert sum(column) == getattr(getattr(totals, stage), figure)
    assert max(filter(None, rows.column("kv_bytes").to_pylist())) == totals.total.kv_bytes


def test_progress_is_told(load_model: Load, write_parquet: WriteParquet) -> None:
    seen = []
    run_corpus(
        [write_parquet(table(30))],
        load_model,
        CorpusOptions(batch_pages=10),
        lambda tally: seen.append((tally.counted, tally.left_out)),
    )
    assert seen == [(9, 1), (18, 2), (27, 3)]


# -- what goes wrong leaves nothing ----------------------------------------------------------------------------------


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_strict_stops_at_the_first_page_left_out(tmp_path: Path, load_model: Load, write_parquet: WriteParquet) -> None:
    path = write_parquet({"width": [5, 0], "height": [5, 5]})
    out = tmp_path / "out" / "rows.parquet"
    with pytest.raises(ModelMeterError, match=r"pages\.parquet#2: width 0 is not positive \(strict: no page may be"):
        run_corpus([path], load_model, CorpusOptions(strict=True, rows=out))
    assert left_behind(tmp_path / "out") == []


def test_a_corpus_without_pages_writes_nothing(tmp_path: Path, load_model: Load, write_parquet: WriteParquet) -> None:
    out = tmp_path / "out" / "rows.parquet"
    for columns in ({"width": [0], "height": [5]}, {"width": [], "height": []}):
        with pytest.raises(ModelMeterError, match="there is no page to count"):
            run_corpus([write_parquet(columns)], load_model, CorpusOptions(rows=out))
    assert left_behind(tmp_path / "out") == []


def test_a_late_error_leaves_what_was_there(tmp_path: Path, load_model: Load, write_parquet: WriteParquet) -> None:
    first = write_parquet(table(50))
    second = write_parquet({"w": [1], "height": [2]}, name="second.parquet")
    out = tmp_path / "out" / "rows.parquet"
    out.parent.mkdir()
    out.write_text("before")
    with pytest.raises(ModelMeterError, match=r"second\.parquet: there is no column width"):
        run_corpus([first, second], load_model, CorpusOptions(rows=out))
    assert (out.read_text(), left_behind(out.parent)) == ("before", ["rows.parquet"])


def test_rows_that_cannot_be_written(tmp_path: Path, load_model: Load, write_parquet: WriteParquet) -> None:
    path = write_parquet(table(5))
    (tmp_path / "file").touch()
    with pytest.raises(ModelMeterError, match=r"cannot be written .*; choose another folder"):
        run_corpus([path], load_model, CorpusOptions(rows=tmp_path / "file" / "rows.parquet"))
    with pytest.raises(ModelMeterError, match="is a directory; give the name of a file"):
        run_corpus([path], load_model, CorpusOptions(rows=tmp_path))
    assert left_behind(tmp_path) == ["file", "pages.parquet"]


REFUSED = {
    "engine": ({"engine": "spark"}, "engine=spark is unknown; the options are local, ray"),
    "ray_resumes": ({"engine": "ray", "resume": Path("x")}, "engine=ray cannot resume"),
    "max_pixels": ({"max_pixels": 0}, "max_pixels=0 is not positive"),
    "batch_pages": ({"batch_pages": 0}, "batch_pages=0 is not positive"),
}


@pytest.mark.parametrize("arguments, message", REFUSED.values(), ids=REFUSED)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        CorpusOptions(**arguments)


# -- runs that are killed --------------------------------------------------------------------------------------------

#: three kinds of items: files, whole tables, row groups
KILLED_PAGES = 18


@pytest.fixture
def corpus(tmp_path: Path, write_parquet: WriteParquet) -> list[str]:
    (tmp_path / "in").mkdir()
    for width in (10, 700, 900):
        Image.new("L", (width, 500)).save(tmp_path / "in" / f"{width}.png")
    lines = "".join(f"{width},{700 + width},x\n" for width in range(1, 11))
    (tmp_path / "a.csv").write_text(f"width,height,kind\n{lines}")
    columns = {name: column for name, column in table(KILLED_PAGES).items() if name != "n"}
    return [str(tmp_path / "in"), str(tmp_path / "a.csv"), write_parquet(columns, row_group_size=10)]


def resumable(tmp_path: Path, **more: Any) -> CorpusOptions:
    arguments: dict[str, Any] = {"group": "kind", "batch_pages": 8, "checkpoint_seconds": 0.0}
    arguments |= {"rows": tmp_path / "rows.parquet", "resume": tmp_path / "state"}
    return CorpusOptions(**(arguments | more))


def die_at(step: int, run: Callable[[], object]) -> bool:
    """Run in a child that is killed at its `step`-th step, with no chance to tidy up; whether it got that far."""
    child = os.fork()
    if child == 0:
        steps = 0

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **keywords: Any) -> Any:
                nonlocal steps
                for before in (True, False):
                    steps += 1
                    if steps == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    if before:
                        result = function(*arguments, **keywords)
                return result

            return call

        try:
            os.replace = counted(os.replace)
            run_module.summarise = counted(run_module.summarise)
            pq.ParquetWriter.write_batch = counted(pq.ParquetWriter.write_batch)
            pq.ParquetWriter.close = counted(pq.ParquetWriter.close)
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def note_pages(seen: list[int], tally: Tally) -> None:
    seen.append(tally.counted)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_run_may_be_killed_at_any_point(tmp_path: Path, load_model: Load, corpus: list[str]) -> None:
    whole = resumable(tmp_path, resume=None, rows=tmp_path / "whole.parquet")
    expected = run_corpus(corpus, load_model, whole)
    expected_rows = pq.read_table(tmp_path / "whole.parquet")
    run_corpus(corpus, load_model, resumable(tmp_path / "whole"))
    step, reused = 0, 0
    while True:
        step += 1
        options = resumable(tmp_path / f"{step}")
        assert options.rows is not None
        if not die_at(step, partial(run_corpus, corpus, load_model, options)):
            break
        read: list[int] = []
        assert run_corpus(corpus, load_model, options, partial(note_pages, read)) == expected
        reused += not read or read[0] > 8
        assert pq.read_table(options.rows).equals(expected_rows)
        assert left_behind(options.rows.parent) == left_behind(tmp_path / "whole")
    assert step > 60
    assert reused > 30, "most runs go on from where the killed one was"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_run_may_be_killed_again_and_again(tmp_path: Path, load_model: Load, corpus: list[str]) -> None:
    options = resumable(tmp_path)
    kills = 0
    while kills < 100 and die_at(24, partial(run_corpus, corpus, load_model, options)):
        kills += 1
    assert 2 < kills < 100
    fresh = run_corpus(corpus, load_model, resumable(tmp_path, resume=None, rows=None))
    assert run_corpus(corpus, load_model, options) == fresh


@pytest.mark.slow
def test_a_process_that_is_killed_from_outside(tmp_path: Path, write_parquet: WriteParquet) -> None:
    """The same with an interpreter of its own, killed wherever it happens to be."""
    path = write_parquet(table(400), row_group_size=50)
    code = f"""if True:
        import time
        from functools import partial
        from pathlib import Path
        from modelmeter.corpus import CorpusOptions, run_corpus
        from modelmeter.models.deepseek_ocr import load_cost_model
        resume, rows = Path({str(tmp_path / "s")!r}), Path({str(tmp_path / "rows.parquet")!r})
        options = CorpusOptions(group="kind", batch_pages=5, checkpoint_seconds=0.0, resume=resume, rows=rows)
        run_corpus([{path!r}], partial(load_cost_model, []), options, lambda tally: time.sleep(0.02))
    """
    state, kills = tmp_path / "s" / "state.json", 0
    while True:
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", code])
        while process.poll() is None and kills < 2:
            if state.exists() and state.stat().st_mtime_ns != before:
                time.sleep(0.05)
                process.kill()
                break
            time.sleep(0.005)
        if process.wait() == 0:
            break
        kills += 1
    assert kills == 2
    load = partial(load_cost_model, [])
    whole = CorpusOptions(group="kind", rows=tmp_path / "whole.parquet")
    expected = run_corpus([path], load, whole)
    assert pq.read_table(tmp_path / "rows.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    resumed = replace(whole, rows=tmp_path / "rows.parquet", resume=tmp_path / "s", batch_pages=5)
    assert run_corpus([path], load, resumed) == expected


# -- what a state is held against ------------------------------------------------------------------------------------


def test_a_finished_state_answers_without_reading(tmp_path: Path, load_model: Load, corpus: list[str]) -> None:
    options = resumable(tmp_path)
    expected = run_corpus(corpus, load_model, options)
    read = []
    assert run_corpus(corpus, load_model, options, lambda tally: read.append(tally)) == expected
    assert read == []


def test_files_added_behind_the_last_are_read_then(tmp_path: Path, load_model: Load) -> None:
    options = resumable(tmp_path, group=None)
    for name, pages in {"a": 1, "b": 2, "c": 3}.items():
        (tmp_path / f"{name}.csv").write_text("width,height\n600,600\n")
        assert run_corpus([f"{tmp_path}/*.csv"], load_model, options).everything.totals.pages == pages
        assert pq.read_metadata(tmp_path / "rows.parquet").num_rows == pages


def test_other_options_are_refused_by_name(tmp_path: Path, load_model: Load, corpus: list[str]) -> None:
    run_corpus(corpus, load_model, resumable(tmp_path))
    different = {
        "group": (corpus, load_model, resumable(tmp_path, group=None), "group=kind, and this one has group=None"),
        "batch": (corpus, load_model, resumable(tmp_path, batch_pages=9), "batch_pages=8, and .* batch_pages=9"),
        "rows": (corpus, load_model, resumable(tmp_path, rows=None), "rows=True, and .* rows=False"),
        "sources": (corpus[1:], load_model, resumable(tmp_path), "sources="),
        "model": (
            corpus,
            partial(load_cost_model, ["workload.max_num=6"]),
            resumable(tmp_path),
            r"workload\.max_num=9, and this one has workload\.max_num=6; name another folder",
        ),
    }
    for sources, load, options, message in different.values():
        with pytest.raises(ModelMeterError, match=message):
            run_corpus(sources, load, options)


@pytest.mark.parametrize("change", ["content", "fewer", "order"])
def test_files_that_changed_are_refused(tmp_path: Path, load_model: Load, change: str) -> None:
    for name in ("b", "c"):
        (tmp_path / f"{name}.csv").write_text("width,height\n600,600\n")
    options = resumable(tmp_path, group=None)
    run_corpus([f"{tmp_path}/*.csv"], load_model, options)
    if change == "content":
        (tmp_path / "c.csv").write_text("width,height\n600,601\n800,800\n")
    elif change == "fewer":
        (tmp_path / "c.csv").unlink()
    else:
        (tmp_path / "a.csv").write_text("width,height\n600,600\n")
    with pytest.raises(ModelMeterError, match="remembers as done have changed since; delete that folder"):
        run_corpus([f"{tmp_path}/*.csv"], load_model, options)


def test_a_state_that_is_none(tmp_path: Path, load_model: Load, corpus: list[str]) -> None:
    (tmp_path / "state").mkdir()
    for text in ("", "{", "[]", "{}", '{"schema": 99}'):
        (tmp_path / "state" / "state.json").write_text(text)
        with pytest.raises(ModelMeterError, match=r"state\.json is no state of a corpus run \(.*name another"):
            run_corpus(corpus, load_model, resumable(tmp_path))


def test_a_state_folder_that_cannot_be_made(tmp_path: Path, load_model: Load, corpus: list[str]) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(ModelMeterError, match="state: cannot be written"):
        run_corpus(corpus, load_model, resumable(tmp_path))


def test_two_runs_do_not_share_a_state(tmp_path: Path, load_model: Load, corpus: list[str]) -> None:
    pytest.importorskip("fcntl")
    options = resumable(tmp_path)

    def second(_: object) -> None:
        with pytest.raises(ModelMeterError, match="another run is at work in"):
            run_corpus(corpus, load_model, options)

    run_corpus(corpus, load_model, options, second)


def test_standard_input_cannot_be_resumed(tmp_path: Path, load_model: Load) -> None:
    with pytest.raises(ModelMeterError, match=r"standard input .* cannot be resumed; write it to a file"):
        run_corpus(["-"], load_model, resumable(tmp_path))
