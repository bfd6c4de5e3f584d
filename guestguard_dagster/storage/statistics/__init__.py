"""What is counted from deliveries by day, and the reports that are made of it."""
