"""Words, dates, places and names as people write them in questions."""
