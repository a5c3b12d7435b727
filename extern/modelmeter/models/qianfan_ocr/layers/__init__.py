"""Qianfan-OCR's own layers."""
