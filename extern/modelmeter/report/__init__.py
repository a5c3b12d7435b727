"""How results are shown and kept: tables, and files that are written whole or not at all."""
