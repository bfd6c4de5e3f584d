"""What is counted from deliveries by day, and the reports that are made of it.

Nothing here changes a delivery. How a report looks belongs to `reporting`.
"""
