"""The networks: layers, the recursive model built from them, and the puzzle embedding that tells it which task it sees."""
