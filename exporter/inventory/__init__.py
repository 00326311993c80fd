"""What exists now on the Docker host: plain data and its indexes, no I/O."""
