"""What runs in the pods of a model: the server and its download step. Imports nothing of the operator."""
