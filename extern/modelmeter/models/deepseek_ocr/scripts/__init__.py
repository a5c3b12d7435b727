"""Doors to the programs on the paths that users know, and the programs that are DeepSeek-OCR's own."""
