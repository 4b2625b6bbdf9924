"""The built-in city: streets, houses and a camera, drawn from a seed."""
