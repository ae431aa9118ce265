"""Embeddings of images in files: embedded once, scored as often as there are questions."""
