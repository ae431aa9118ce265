"""What only training needs torch for."""
