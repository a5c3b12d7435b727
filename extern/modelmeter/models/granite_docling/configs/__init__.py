"""The YAML files of Granite-Docling's configuration."""
