"""`pvq run`: a run in a folder that outlives its process."""
