"""The only package that speaks to Docker."""
