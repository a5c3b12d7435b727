"""The YAML files of Idefics3's configuration."""
