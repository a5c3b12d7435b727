"""The YAML files of PaddleOCR-VL, a folder a group."""
