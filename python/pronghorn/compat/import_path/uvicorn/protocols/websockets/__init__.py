"""Names of WebSocket implementations."""
