"""Proof that written coordinates point at the particles."""
