"""The YAML files of Qwen3-VL, a folder a group."""
