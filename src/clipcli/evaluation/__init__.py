"""How good a model's answers are on pictures whose labels are known."""
