"""What the controller keeps of a step: checks at its boundary, plans in flight, and the ledger."""
