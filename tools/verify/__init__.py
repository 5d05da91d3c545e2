"""Does it hold?  Checks of the sources, the pages, the exercises and the exports."""
