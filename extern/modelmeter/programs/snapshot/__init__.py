"""The static snapshot: what the reference's modules are, and what torchinfo says of them."""
