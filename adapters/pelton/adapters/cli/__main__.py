"""`python -m pelton.adapters.cli` is `pelton`."""

from pelton.adapters.cli import main

main()
