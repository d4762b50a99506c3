"""Commands of the `factory` command line, a module per theme; `factory.cli` lists them."""
