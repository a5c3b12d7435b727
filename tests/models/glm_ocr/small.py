"""A GLM-OCR of two blocks and two layers, of few rows of its embedding."""

OVERRIDES = ("vision.depth=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
