"""Attention of the decoder and its rotary embedding, which are Llama's."""
