"""The metric catalogue and the page: rendering that knows nothing of Docker."""
