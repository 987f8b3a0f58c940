"""The networks: layers, the recursive model built from them, and how it is told which task it sees."""
