"""The embedded key point set: drawn people, made on first use."""
