"""Adapters fitted on a few labelled pictures, and whether they are worth keeping."""
