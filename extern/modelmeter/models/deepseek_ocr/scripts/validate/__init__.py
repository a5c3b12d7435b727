"""Timing the real model: what `modelmeter validate` runs."""
