"""Results to text, pages and pictures."""
