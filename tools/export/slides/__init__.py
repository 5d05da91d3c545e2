"""A lecture as a deck of slides."""
