"""What a run leaves on disk: written, resumed, reported and compared."""
