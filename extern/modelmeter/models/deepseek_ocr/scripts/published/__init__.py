"""Published measurements of DeepSeek-OCR, and what the roofline predicts for them."""
