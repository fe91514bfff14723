"""Statements on the tables of the service, a module for each table."""
