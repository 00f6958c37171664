"""What talks to the Kubernetes API: client, caches, work queue, events."""
