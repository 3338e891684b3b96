"""What the platform sees of the daemon: pages, gauges, alerts."""
