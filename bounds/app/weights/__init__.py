"""`pvq weights`: its command and figures."""
