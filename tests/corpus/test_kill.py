"""A corpus whose process is killed wherever it happens to be, and a cost model that many threads share.

`make endurance` runs it with more kills and pages than `make test`.
"""

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modelmeter.corpus import CorpusOptions, run_corpus
from modelmeter.models.deepseek_ocr import load_cost_model

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MODELMETER_KILLS", "3"))
PAGES_A_THREAD = int(os.environ.get("MODELMETER_PAGES", "25"))
THREADS = 32

#: rows of the table; a run that nobody kills takes a second or two
ROWS = 3000


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL here")
def test_random_kills_change_nothing(tmp_path: Path) -> None:
    rows = "".join(f"{1 + n * 7919 % 3000},{1 + n * 104729 % 3000},{n % 4}\n" for n in range(ROWS))
    (tmp_path / "a.csv").write_text(f"width,height,n\n{rows}")
    code = f"""if True:
        import time
        from functools import partial
        from pathlib import Path
        from modelmeter.corpus import CorpusOptions, run_corpus
        from modelmeter.models.deepseek_ocr import load_cost_model
        resume, rows = Path({str(tmp_path / "state")!r}), Path({str(tmp_path / "rows.parquet")!r})
        options = CorpusOptions(group="n", batch_pages=20, checkpoint_seconds=0.0, resume=resume, rows=rows)
        run_corpus([{str(tmp_path / "a.csv")!r}], partial(load_cost_model, []), options, lambda _: time.sleep(0.01))
    """
    chance = random.Random(12)
    state = tmp_path / "state" / "state.json"
    kills = cut_short = 0
    while kills < KILLS:
        process = subprocess.Popen([sys.executable, "-c", code])
        while process.poll() is None and not state.exists():
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
        cut_short += process.wait() != 0
        kills += 1
    assert cut_short, "no kill came before the end"
    options = CorpusOptions(group="n", batch_pages=20, resume=tmp_path / "state", rows=tmp_path / "rows.parquet")
    load = partial(load_cost_model, [])
    whole = CorpusOptions(group="n", rows=tmp_path / "whole.parquet")
    assert run_corpus([str(tmp_path / "a.csv")], load, options) == run_corpus([str(tmp_path / "a.csv")], load, whole)
    assert pq.read_table(tmp_path / "rows.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))


def test_threads_share_a_cost_model() -> None:
    chance = random.Random(34)
    sizes = [(chance.randrange(1, 5000), chance.randrange(1, 5000), chance.randrange(100)) for _ in range(THREADS * 5)]
    asked = [[chance.choice(sizes) for _ in range(PAGES_A_THREAD)] for _ in range(THREADS)]
    alone = load_cost_model()
    expected = {size: alone.page(*size) for size in sizes}
    shared = load_cost_model()
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda some: [shared.page(*size) for size in some], asked))
    assert found == [[expected[size] for size in some] for some in asked]
