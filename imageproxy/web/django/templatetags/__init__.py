"""Found by Django at this place."""
