"""Training from a recipe: its schema and checks, the run itself, and the evaluations around it."""
