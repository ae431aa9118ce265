"""Engines: pixels and tokens to embeddings, and which engine runs."""
