"""What is done with results before they leave: validated, kept, made portable, redacted."""
