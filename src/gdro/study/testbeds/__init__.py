"""Shipped testbeds."""
