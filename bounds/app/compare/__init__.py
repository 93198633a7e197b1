"""`pvq compare`: its command, outputs and what a run keeps."""
