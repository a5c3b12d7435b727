"""The YAML files of Qwen2-VL, a folder a group."""
