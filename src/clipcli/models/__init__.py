"""Models: what a name means, and the files that it stands for."""
