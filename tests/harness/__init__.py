"""What the tests stand on: a private real engine, a fake one for faults, workloads, a real Prometheus."""
