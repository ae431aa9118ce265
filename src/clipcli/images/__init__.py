"""Images: which there are, their bytes, their pixels as a model wants them."""
