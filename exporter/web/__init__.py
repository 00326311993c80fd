"""The HTTP side: the metrics page, health and the status page."""
