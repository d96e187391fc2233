"""SQL over the record: the reader, its views, what statements are allowed, saved questions, exports."""
