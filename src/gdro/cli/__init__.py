"""The command `gdro`: a module per large command, and `app`, which joins them."""

from gdro.cli.app import main as main
