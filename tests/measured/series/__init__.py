"""Measurements of parts of models: what a layer, or a pass of a decoder, did at a size, where running it takes long.

A series is a module here that measures: `CASES`, what of by a name that is all of it, and `measure(case)`, what was
measured of one as JSON has it. It imports torch; its measurements, and what they depend on, stand beside it in
`<name>.json`. The tests of what is measured hold the cost model against these, by `recorded`.
"""
