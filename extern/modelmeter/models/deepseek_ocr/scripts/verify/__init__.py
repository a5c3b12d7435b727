"""Verification programs: doors to those of every model, and DeepSeek-OCR's own."""
