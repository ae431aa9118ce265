"""Pictures on a terminal: what it can show, and how it is told to."""
