"""What operators see of the processes: metrics for Prometheus, spans for OpenTelemetry."""
