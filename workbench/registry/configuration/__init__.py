"""Reading the configurations of all clients: formats, styles, entries, variables, command lines, ids."""
