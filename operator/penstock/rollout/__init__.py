"""ModelDeployment: the pure decisions of a rollout, and the one shell that carries them out."""
