"""What must happen although a process ended in the middle.

Only tenants that are noted as having work are visited. Replicas share them: each takes what is due
and nobody else has taken, and telling Temporal twice changes nothing.
"""
