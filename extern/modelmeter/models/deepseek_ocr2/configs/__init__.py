"""The YAML files of LightOnOCR's configuration."""
