"""Servers behind HTTP: Streamable HTTP and HTTP+SSE, their answers, redirects, sessions and failures."""
