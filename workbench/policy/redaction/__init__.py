"""Taking personal data and secrets out of results and out of the record."""
