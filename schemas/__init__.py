"""The shared language of the factory: records, tables, vocabularies, protocols, errors. No behaviour, no I/O."""
