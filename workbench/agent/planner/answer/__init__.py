"""From the results of tools to the answer in words."""
