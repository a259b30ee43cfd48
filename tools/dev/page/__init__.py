"""What the page is checked with: files, its server, a visitor."""
