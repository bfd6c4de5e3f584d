"""The JSON API, one module per noun. Endpoints translate between HTTP and the repositories; they decide no rules."""
