"""What configuration says: the environment, for now the only place it is read from."""
