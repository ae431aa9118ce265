"""A model hub's files: found in its cache, downloaded, checked."""
