"""Which tools fit a part of a question, and the arguments for them."""
