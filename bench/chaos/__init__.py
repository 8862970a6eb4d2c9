"""The chaos harness: a cluster whose parts die under real people, and a checker of what they were promised."""
