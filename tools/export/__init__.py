"""Out of the book: notebooks for Colab, slides, paper."""
