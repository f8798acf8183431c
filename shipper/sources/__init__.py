"""What is shipped: for each kind of file, where it is found and what its lines say. Pure, one screen each."""
