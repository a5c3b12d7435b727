"""The YAML files of the toy, a folder a group."""
