"""DeepSeek-OCR's real modules, measured: transformers', a replica of the published code, and the published files."""
