"""The YAML files of HunyuanOCR, a folder a group."""
