"""Files, ports, locks and processes of the machine."""
