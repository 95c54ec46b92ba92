"""Adapters to trainers. Each is a few calls of the controller and no maths."""
