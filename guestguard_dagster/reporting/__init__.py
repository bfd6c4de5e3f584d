"""What operators and hosts read about deliveries: charts, reports as self-contained HTML, exports. Plain Python.

Nothing here asks Dagster or sends anything: assets build reports with it, and mail them as letters.
"""
