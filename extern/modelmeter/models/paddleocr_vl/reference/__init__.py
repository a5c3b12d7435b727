"""PaddleOCR-VL as transformers has it, measured on the meta device."""
