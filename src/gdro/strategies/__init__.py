"""One file a strategy; `names` is their table. Make them with `gdro.make_strategy(name, **options)`."""
