"""What goes on beside a run: signals, progress, pages, pictures."""
