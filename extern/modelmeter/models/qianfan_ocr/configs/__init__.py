"""The YAML files of Qianfan-OCR's configuration."""
