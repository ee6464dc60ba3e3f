"""The gRPC services: Operator, by which people and programs steer runs, and Aggregation for servers of any kind."""
