"""Every command about pages, of a model that is cut into no crops and has no experts: the toy, and its own words."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modelmeter.cli.main import main
from modelmeter.models import DEFAULT_MODEL, MODELS, model_package
from modelmeter.models.common.contract import Views
from tests.toy_model import load_cost_model
from tests.toy_model.workload import Grid, Workload

Capture = pytest.CaptureFixture[str]

#: what only the other model says
FOREIGN = ("crop", "expert", "global", "gundam", "DeepSeek")
A4 = "1240x1754"  # 44 x 63 patches


@pytest.fixture(autouse=True)
def _here(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def printed(capsys: Capture, *arguments: str, model: str = "toy") -> str:
    status = main([*arguments, "--model", model])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def write_table(rows: int = 30) -> None:
    with open("sizes.csv", "w", newline="") as file:
        pages = [(900 + 70 * (index % 9), 300 + 90 * (index % 4), "ab"[index % 2]) for index in range(rows)]
        csv.writer(file).writerows([("width", "height", "kind"), *pages])


def assert_own_words(text: str) -> None:
    for key in ("runtime.experts_hit", "parallel.expert"):  # of all models' configuration, which reports print whole
        text = text.replace(key, "")
    assert not [word for word in FOREIGN if word in text]


def test_page(capsys: Capture) -> None:
    out = printed(capsys, "page", A4, "--output-tokens", "5", "--exact")
    assert_own_words(out)
    assert "views   1: the page as 1232 x 1764, patches 44 x 63\n" in out
    assert "tokens  2772 image + " in out
    assert f"{load_cost_model().page(1240, 1754, 5).total.tensor_core_flops:,}" in out
    content = json.loads(printed(capsys, "page", A4, "--json"))
    assert (content["model"], content["pages"][0]["layout"]) == ("toy", {"columns": 44, "rows": 63})


def test_a_page_that_is_all_tiles(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def tiles(_: Workload, layout: Grid) -> tuple[Views, ...]:
        return (Views("page", layout.columns * layout.rows, 28, 28, *layout, layout.columns * layout.rows),)

    monkeypatch.setattr(Workload, "views", tiles)
    assert "views   20: 20 page of 28 x 28 in 4 columns x 5 rows\n" in printed(capsys, "page", "112x140")


def test_modes(capsys: Capture) -> None:
    out = printed(capsys, "modes", A4, "execution=serving")
    assert_own_words(out)
    (grids,) = [line.split("  ") for line in out.splitlines() if line.startswith("patches, columns x rows")]
    assert [each.strip() for each in grids if each][1:] == ["44 x 63", "13 x 13"]
    assert "traffic (no cache)\n" in out
    content = json.loads(printed(capsys, "modes", A4, "--json"))
    assert list(content["pages"][0]["modes"]) == ["page", "thumbnail"]


def test_corpus(capsys: Capture) -> None:
    write_table()
    out = printed(capsys, "corpus", "sizes.csv", "--by", "kind", "--output-tokens", "3", "--rows", "rows.parquet")
    assert_own_words(out)
    assert "\npatches  " in out
    rows = pq.read_table("rows.parquet").to_pylist()
    model = load_cost_model()
    for row in rows:
        page = model.page(row["width_px"], row["height_px"], 3)
        assert (row["columns"], row["rows"], row["image_tokens"]) == (*page.layout, page.tokens.total)
        assert row["kv_bytes"] == page.total.kv_bytes
    content = json.loads(printed(capsys, "corpus", "sizes.csv", "--json"))
    by_layout = content["layouts"]
    assert sum(part["pages"] for part in by_layout) == 30 == len(rows)
    assert set(by_layout[0]["layout"]) == {"columns", "rows"}


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_report(capsys: Capture, suffix: str) -> None:
    printed(capsys, "report", A4, "600x600", "--output-tokens", "5", "-o", f"r.{suffix}")
    text = Path(f"r.{suffix}").read_text()
    assert_own_words(text)
    assert "Patches are columns x rows." in text
    assert "44 x 63" in text


def test_the_report_draws_the_page(capsys: Capture) -> None:
    printed(capsys, "report", A4, "--output-tokens", "5", "-o", "r.html")
    text = Path("r.html").read_text()
    assert "page view 1232 x 1764: 2,772 tokens" in text
    assert "page: 1240 x 1754" in text


def test_diff_of_two_executions(capsys: Capture) -> None:
    out = printed(capsys, "diff", A4, "--a", "execution=transformers", "--b", "execution=serving", "--top", "3")
    assert_own_words(out)
    assert "patches, columns      44      44" in out
    assert "execution.name transformers -> serving" in " ".join(out.split())


def test_diff_of_two_models(capsys: Capture) -> None:
    Path("a.json").write_text(printed(capsys, "page", A4, "--json", model=DEFAULT_MODEL))
    Path("b.json").write_text(printed(capsys, "page", A4, "--json"))
    assert main(["diff", "a.json", "b.json"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.split() == ["model", DEFAULT_MODEL, "->", "toy"]]
    assert "vision.num_heads" in out and "not set -> 3" in out
    assert "image tokens     903   2,772" in out
    assert main(["diff", "a.json", "b.json", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["configuration"][0] == {"key": "model", "a": DEFAULT_MODEL, "b": "toy"}
    assert [row["name"] for row in content["pages"][0]["tokens"]] == ["image tokens", "prefill tokens"]


def test_throughput(capsys: Capture) -> None:
    write_table()
    for source in (A4, "sizes.csv"):
        out = printed(capsys, "throughput", source, "--output-tokens", "5", "--device", "A10")
        assert_own_words(out)
        assert "pages_per_day" in out
    content = json.loads(printed(capsys, "throughput", A4, "--output-tokens", "5", "--device", "A10", "--json"))
    assert content["model"] == "toy"


REFUSED = {
    ("page", A4, "--model", "tou"): 'model tou does not exist; did you mean "toy"?',
    ("page", A4, "--model", "toy,toy"): "model=toy,toy names several models; a cost is one model's, so give one.",
    ("page", A4, "model=toy,toy"): "model=toy,toy names several models; a cost is one model's, so give one.",
    ("page", A4, "--model", "toy_wid"): 'model toy_wid does not exist; did you mean "toy_wide"',
    ("page", A4, "--model", "toy", "checkpoint=toy_wid"): 'checkpoint toy_wid does not exist; did you mean "toy_wide"',
    ("page", A4, "--model", DEFAULT_MODEL, "checkpoint=toy_wide"): "checkpoint=toy_wide is a checkpoint of toy, model=",
    ("page", A4, "--model", "toy_wide", "checkpoint=toy"): "model=toy_wide and checkpoint=toy are several checkpoints",
    ("page", A4, "--model", "toy", "checkpoint.name=x"): "choose a checkpoint, by checkpoint=NAME (toy, toy_wide) or",
    ("diff", A4, "--a", "model=toy", "--b", "model=a,b"): "model=a,b names several models",
    ("page", A4, "--model", "toy", "workload=gundam"): "there is no such workload; the options are page, thumbnail.",
    ("models", "tou"): 'model tou does not exist; did you mean "toy"?',
    (
        "verify",
        "vision",
        "--model",
        "toy",
    ): "model toy has no real modules: it is invented",
    ("validate", "--device", "cpu", "--against", "h100_sxm", "--model", "toy"): "model toy has no real model here",
}


@pytest.mark.parametrize("arguments, words", REFUSED.items(), ids=str)
def test_what_is_refused(capsys: Capture, arguments: tuple[str, ...], words: str) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and words in captured.err


def test_a_checkpoint_is_named_in_all_that_is_printed(capsys: Capture) -> None:
    wide = printed(capsys, "page", A4, "--explain", model="toy_wide")
    words = " ".join(wide.split())
    assert "model toy_wide (not all confirmed), workload=thumbnail, execution=transformers" in words
    assert "workload thumbnail: " in words
    assert "settings checkpoint=toy_wide (not all confirmed) execution=transformers" in words
    assert "checkpoint: decoder.vocab_size is that of the toy" in words
    for same in (["model=toy_wide"], ["checkpoint=toy_wide"], ["--model", "toy", "checkpoint=toy_wide"]):
        assert main(["page", A4, "--explain", *same]) == 0
        assert capsys.readouterr().out == wide
    assert main(["models", "toy_wide"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"parameters {load_cost_model(['checkpoint=toy_wide']).parameters:,} (checkpoint=toy_wide)" in out
    assert "toy_wide (invented for the tests; revision 2; decoder.vocab_size is that of the toy)" in out


def test_diff_of_two_checkpoints(capsys: Capture) -> None:
    for name in ("toy", "toy_wide"):
        Path(f"{name}.json").write_text(printed(capsys, "page", A4, "--json", model=name))
    content = json.loads(Path("toy_wide.json").read_text())
    assert (content["model"], content["settings"]["checkpoint"]) == ("toy", "toy_wide")
    assert main(["diff", "toy.json", "toy_wide.json", "--top", "1"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "checkpoint.name toy -> toy_wide" in told and "operators that differ" in told
    assert main(["diff", A4, "--a", "model=toy", "--b", "checkpoint=toy_wide", "--top", "1"]) == 0
    configured = " ".join(capsys.readouterr().out.split())
    assert configured.split("configuration")[-1].split("decoder.")[1:] == told.split("decoder.")[1:]


def test_a_result_of_before_there_were_checkpoints(capsys: Capture) -> None:
    content = json.loads(printed(capsys, "page", A4, "--json"))
    Path("new.json").write_text(json.dumps(content))
    settings = content["settings"]
    named = content | {"settings": {"checkpoint": "toy"} | settings}  # one that tells a checkpoint named as its model
    del content["configuration"]["checkpoint"]
    for old in (content, named):
        Path("old.json").write_text(json.dumps(old))
        assert main(["diff", "old.json", "new.json"]) == 0
        out = capsys.readouterr().out
        assert "configuration  the same" in out and "no operator differs" in out


def test_models(capsys: Capture) -> None:
    """A line for each checkpoint of each model, or a block for each that is named."""
    assert main(["models"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.split("\n\n")[0].splitlines()[3:]]
    names = [(checkpoint, model) for model in (*MODELS, "toy") for checkpoint in model_package(model).CHECKPOINTS]
    unconfirmed = {row[0] for row in rows if row[1] == "*"}
    said = {row[0]: [word for word in row[1:] if word != "*"] for row in rows}
    assert [(checkpoint, words[0]) for checkpoint, words in said.items()] == names
    millions = f"{model_package().load_cost_model().parameters / 1e6:,.0f}"
    assert said[DEFAULT_MODEL][1:] == [millions, "903", "published", "vllm", "sglang"]
    assert "toy_wide" in unconfirmed and "toy" not in unconfirmed  # whose vocabulary nobody confirmed
    assert main(["models", "toy", DEFAULT_MODEL]) == 0
    out = capsys.readouterr().out
    lines = [line.split("  ")[0] for line in out.splitlines() if line and not line.startswith(" ")]
    assert lines == ["toy", DEFAULT_MODEL]
    assert main(["models", "toy", "--json"]) == 0
    (content,) = json.loads(capsys.readouterr().out)["models"]
    assert content == {
        "name": "toy",
        "title": "Toy",
        "checkpoints": ["toy", "toy_wide"],
        "checkpoint_facts": [
            {"name": "toy", "source": "invented for the tests", "revision": None, "unconfirmed": None},
            {
                "name": "toy_wide",
                "source": "invented for the tests",
                "revision": "2",
                "unconfirmed": "decoder.vocab_size is that of the toy",
            },
        ],
        "parameters": load_cost_model().parameters,
        "image_rule": "one grid of whole patches, 4 to 64 a side",
        "modes": ["page", "thumbnail"],
        "executions": ["transformers", "serving"],
        "proven": "laws against walks",
        "sources": ["invented for the tests"],
    }
