"""What the workflow of a run asks to be done: everything that touches the world."""
