"""Images inside tar files, at any place of them."""
