"""Granite-Docling's own layers."""
