"""Compiled linear algebra that the engines share: factors, products in registers, the largest diagonal below H."""
