"""How each part is started, asked whether it is ready, and ended: one module a part."""
