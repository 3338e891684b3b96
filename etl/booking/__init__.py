"""A backlog is booked in a process of its own, so that reading trades does not hold up the way from the queue."""
