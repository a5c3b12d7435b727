"""DeepSeek-OCR-2's own layers."""
