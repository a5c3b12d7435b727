"""Laws as data: a model's costs as polynomials with their conditions, for other programs to evaluate.

docs/laws-format.md describes the files; `document.laws_document` makes one.
"""
