"""Vision FLOPs layer by layer, analytic against measured, for the canonical 1024/640 crop workload. Needs no image.

python tmp/dsocr-debug/run_vision_flops_debug.py
"""

import sys

from modelmeter.models.deepseek_ocr import load_cost_model, whole_model
from modelmeter.programs.hydra_program import AGREES, DISAGREES, console
from modelmeter.programs.verify.program import comparison_table
from modelmeter.programs.verify.vision import VisionVerifier

REFERENCE = {"name": "transformers", "folder": "", "trust_remote_code": False}

#: a page of each aspect ratio: the canonical 2x3 letter page, and others
SIZES = ((1275, 1650), (1650, 1275), (1600, 900), (600, 1800), (2700, 500), (900, 8100), (1500, 1500), (600, 220))


def main() -> int:
    """Print the tables; 0 when every figure agrees."""
    cost_model = load_cost_model(["workload=gundam"])
    verifier = VisionVerifier(cost_model, whole_model(cost_model), REFERENCE)
    out = console()
    agrees = True
    for width, height in SIZES:
        page = verifier.cost_model.page(width, height)
        rows = verifier.rows(page, "blocks")
        agrees = agrees and all(row.agrees(0) for row in rows)
        title = f"{width} x {height}, ratio {width / height:.3f}, grid {page.layout.w_crop}x{page.layout.h_crop}"
        out.print(comparison_table(title, rows, 0))
    return AGREES if agrees else DISAGREES


if __name__ == "__main__":
    sys.exit(main())
