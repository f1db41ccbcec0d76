"""What every model has: the contract, preprocessing, tokenizer, weight files."""
