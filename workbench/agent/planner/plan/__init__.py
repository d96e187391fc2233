"""Which calls come next: one turn at a time, from what earlier calls returned."""
