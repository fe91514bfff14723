"""The ledger: what each transaction on a call may find, and what it leaves behind.

Every transaction locks the call's row first, so that two on one call never run at once.
"""
