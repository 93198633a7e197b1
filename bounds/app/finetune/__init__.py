"""`pvq finetune`."""
