"""Idefics3's own layers."""
