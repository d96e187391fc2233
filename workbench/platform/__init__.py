"""One process with everything in it: the platform and what it does beside serving calls."""
