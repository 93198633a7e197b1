"""`pvq report`: a run or a comparison as one page that needs no network."""
