"""The vision layers: the SAM encoder, the CLIP tower, the projector."""
