"""The ledger's protocol: what each transaction may find, and what it leaves behind.

A call's row is taken before anything else of it is touched, so transactions on one call never meet.
"""
