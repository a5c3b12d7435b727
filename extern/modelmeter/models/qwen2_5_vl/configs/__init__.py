"""The YAML files of Qwen2.5-VL, a folder a group."""
