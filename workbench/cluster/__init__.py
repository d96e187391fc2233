"""What several gateway processes share: messages between them, and sealed tokens that any of them can open."""
