"""MLflow: runs that survive outages and restarts, the model registry and its promotion gate. The only code that imports MLflow."""
