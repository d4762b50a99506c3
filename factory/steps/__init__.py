"""Steps between tables: each does the rows that are missing, and says which table it fills.

A step reads what it needs with SQL, a batch at a time, hands it to a pure function of `quality` or `warehouse`, and
appends the result.
"""
