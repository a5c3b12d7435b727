"""The vision stage of real pages, analytic against the real modules.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end_vision \
        'images=[page.png,scan.jpg]' workload=gundam detail=blocks

Each page's size goes through `compute_view_layout`; SAM, CLIP and the projector of the global view and of the crops
are measured on the meta device and compared module by module, and so is the stage as a whole. `verify.json` lands in
the run directory. Traffic and peaks are compared where the reference is the code that `execution` names.
Exit status 0: every difference is within `tolerance`; 1: one is not, or a page was bad; 2: nothing could be verified.
"""

from modelmeter.programs.verify.vision import main

if __name__ == "__main__":
    main()
