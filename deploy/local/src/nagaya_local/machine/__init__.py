"""What the machine lends to any stack: files, ports, locks, processes."""
