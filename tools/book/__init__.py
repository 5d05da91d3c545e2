"""Runs the lectures and renders the pages."""
