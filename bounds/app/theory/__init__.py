"""`pvq theory`: its command and figures."""
