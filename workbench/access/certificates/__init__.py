"""TLS: who this process is, whom it believes, and contexts whose certificates are replaced while it runs."""
