"""The state folder as a whole: backed up and restored, and its keys replaced."""
