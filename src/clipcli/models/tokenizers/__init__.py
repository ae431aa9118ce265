"""Texts to token ids, as each model reads them."""
