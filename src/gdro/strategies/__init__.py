"""One file per strategy; `names` has their table, `gdro.make_strategy(name, **options)` makes them."""
