"""HunyuanOCR's own layers."""
