"""Find faces, follow them, and cut them out."""
