"""What the product exists for: reading a whole account and proving it, writing exactly once in
effect. Not single requests (`tasks/`), nor what a run shows and in which order (`flows/`)."""
