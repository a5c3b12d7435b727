"""DeepSeek-OCR-2's own modules, run on the meta device and measured. Imports torch."""
