"""Writing the record: group commit, segments, seals, recovery after a crash, keys of subjects, witnesses."""
