"""Granite-Docling's own modules, run on the meta device and measured. Imports torch."""
