"""LightOnOCR's own layers."""
