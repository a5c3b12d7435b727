"""Whole pages, analytic against the real model: vision, prefill and every decode step.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end \
        'images=[page.png,scan.jpg]' workload=gundam output_tokens=10

Each page's size goes through `compute_view_layout`; transformers' whole model (for `execution=published` the replica of
that code) runs on the meta device, on the inputs that preprocessing makes of such a page, and is compared by stage
(FLOPs, elements outside GEMMs by operator, traffic, weights, both peaks and where the peak is, KV cache, sequence
length) and by module (FLOPs). Every decode step is compared for itself, and their sum.
`verify.json` lands in the run directory.
Exit status 0: every difference is within `tolerance`; 1: one is not, or a page was bad; 2: nothing could be verified.
"""

from modelmeter.programs.verify.end2end import main

if __name__ == "__main__":
    main()
