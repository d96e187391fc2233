"""The gateway as a client of identity providers: discovery, tokens of its own, and keys that prove who it is."""
