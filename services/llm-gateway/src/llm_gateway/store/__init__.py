"""The tables of the llm-gateway service: one method a statement, its SQL beside its arguments."""
