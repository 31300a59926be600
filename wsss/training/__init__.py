"""The training loop and what it needs: images, draws, resume files, several processes."""
