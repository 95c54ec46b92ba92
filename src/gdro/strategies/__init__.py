"""One file a strategy. Make them with `gdro.make_strategy(name, **options)`."""
