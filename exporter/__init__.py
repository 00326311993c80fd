"""netvol-exporter: the Prometheus exporter for Docker networks and volumes."""

__version__ = "0.1.0"
