"""The tables of the llm-gateway service: one function per statement, SQL beside arguments."""
