"""What listens: HTTP, TLS, the guard in front of the app, and `workbench up` that starts all of it."""
