"""Names of HTTP implementations."""
