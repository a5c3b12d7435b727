"""GLM-OCR as transformers has it, measured on the meta device."""
