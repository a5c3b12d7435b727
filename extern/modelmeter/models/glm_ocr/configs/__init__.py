"""The YAML files of GLM-OCR, a folder a group."""
