"""Every layer class, analytic against its real module, at several sizes and types.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_layers 'layers=[MixtureOfExperts,Block]'

Each line of `layer_cases` is walked on shapes and run on the meta device: FLOPs, traffic and activation peak are
compared, and the operators one by one, the one at the peak among them. Without `layers` every class that derives from
`BaseLayer` is verified, and one that is neither verified nor excused is an error. `verify_layers.json` lands in the
run directory.
Exit status 0: all lines agree within `tolerance`; 1: one does not, or a class is left out; 2: nothing could be
verified.
"""

from modelmeter.programs.verify.layers import main

if __name__ == "__main__":
    main()
