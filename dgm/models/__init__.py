"""Models that are taught in one lecture and used in another, one file a family."""
