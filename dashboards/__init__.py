"""The Grafana dashboards, written with grafana-foundation-sdk; `make dashboards` makes their JSON."""
