"""The ledger: double entry in whole minor units. Who owes whom what, and what is held."""
