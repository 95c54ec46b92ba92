"""The command `gdro`: one module a command, and `app`, which joins them."""

from gdro.cli.app import main as main
