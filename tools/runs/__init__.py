"""Long computations whose results are committed."""
