"""The mistake in each wrong line, and the code that would be right."""
