"""What recipes are made from, where two need it or one would grow too long. Knows no recipe."""
