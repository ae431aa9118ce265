"""Runs: images through the engine, and results that outlive a kill."""
