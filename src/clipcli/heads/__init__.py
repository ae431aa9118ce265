"""Heads: labels, and what an embedding says of them."""
