"""The layers of DeepSeek-OCR, by part."""
