"""The interactive page of the documentation, docs/explore.html, and what writes it."""
