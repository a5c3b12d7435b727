"""HunyuanOCR as transformers has it, measured on the meta device."""
