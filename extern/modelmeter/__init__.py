"""ModelMeter: what OCR with a vision-language model computes, moves and holds, from the size of a page."""
