"""What decoders are made of: attention, rotary embedding, masks, MLP, mixture of experts, blocks."""
