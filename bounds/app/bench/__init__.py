"""`pvq bench`: its command, tables and figures."""
