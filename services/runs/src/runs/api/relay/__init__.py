"""What must happen although a process ended in the middle.

Only tenants with pending work are processed. Replicas share them: each claims what is due and not
claimed, and delivering a message to Temporal twice changes nothing.
"""
