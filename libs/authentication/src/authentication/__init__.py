"""Who calls: tokens of people and of workloads, verified."""
